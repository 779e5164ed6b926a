/** What a third-party server needs to see of our environment, and no more: no key or token of the user's ends up in its memory or log. */
const names = ['PATH', 'HOME', 'LANG', 'TZ', 'TMPDIR', 'USER'];

export function serverEnvironment(extra: Record<string, string> = {}): NodeJS.ProcessEnv {
  const inherited = Object.fromEntries(names.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])));
  // Go programs built without C ask these two for who they are when the user has no account (docker run --user 12345).
  return { HOME: '/', USER: 'temper', ...inherited, ...extra };
}
