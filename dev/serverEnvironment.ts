/** What a third-party server needs to see of our environment, and no more: no key or token of the user's ends up in its memory or log. */
const names = ['PATH', 'HOME', 'LANG', 'TZ', 'TMPDIR'];

export function serverEnvironment(extra: Record<string, string> = {}): NodeJS.ProcessEnv {
  return { ...Object.fromEntries(names.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]]))), ...extra };
}
