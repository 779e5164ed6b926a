/** The JavaScript that templates become: readable, and made of nothing that a template brought along but strings. */
import { spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { compileTemplate } from '../../../templates/jinja/template.js';

it('can be read', () => {
  const { code } = compileTemplate(`{% for m in messages if m.content %}{{ '<' ~ m['role'] }}{% if loop.first %}!{% endif %}{% endfor %}`);
  expect(code.slice(code.indexOf('return (context'))).toMatchInlineSnapshot(`
    "return (context, run) => {
      let v0, v5, v6, v9, t7, t8;
      let out = "";
      v0 = hasOwn(context, "messages") ? context["messages"] : undefined;
      {
        run.at = 3;
        const x1 = [];
        for (const x2 of itemsOf(run, v0)) {
          if (--run.fuel < 0) stop(run, out);
          v9 = x2;
          if (isTrue((isPlain(t8 = v9) ? t8["content"] : t8 instanceof Namespace ? t8.attributes.get("content") : attribute(run, t8, "content", k1)))) x1.push(x2);
        }
        const l4 = new Loop(x1, 0, undefined);
        for (let i3 = 0; i3 < x1.length; i3++) {
          const x2 = x1[i3];
          if (--run.fuel < 0 || out.length > 8388608) stop(run, out);
          l4.index0 = i3;
          v6 = l4;
          v5 = x2;
          run.at = 39;
          out += checkText(run, "<" + toText(run, (isPlain(t7 = v5) && (t8 = t7["role"]) !== undefined ? t8 : item(run, t7, "role", k0))));
          if (out.length > 8388608) stop(run, out);
          run.at = 67;
          if (isTrue((v6.index0 === 0))) {
            out += "!";
          }
        }
      }
      stop(run, out);
      return out;
    };"
  `);
});

it('has the strings of a template as JSON, whatever is in them', () => {
  const nasty = '"];process.exit(9);//\u2028\u2029${process.exit(9)}`*/\\';
  const literal = `'${nasty.replaceAll('\\', '\\\\')}'`;
  const template =
    `${nasty}{{ ${literal} }}{{ {${literal}: 1}[${literal}] }}{{ dict(**{${literal}: 2})[${literal}] }}{{ ${literal} == ${literal} }}` +
    `{% macro m(größe='${'`'}') %}{{ größe }}{% endmacro %}{{ m() }}{{ m(größe=3) }}{{ {'é': 4}.é }}`;
  const { code, render } = compileTemplate(template);
  expect(render({}, new Date(0)).text).toBe(`${nasty}${nasty}12True\`34`);
  // What is left without the strings is ours: no word in it comes from the template.
  expect(code.replace(/"(?:[^"\\]|\\.)*"/g, '')).not.toMatch(/process|exit|größe|é|[`\\]/);
});

it('runs where strings make no code', () => {
  const script = `
    const { compileTemplate } = await import(${JSON.stringify(new URL('../../../templates/jinja/template.ts', import.meta.url).href)});
    let refused;
    try { Function('return 1')(); } catch (error) { refused = error.name; }
    console.log(refused, compileTemplate('{{ 1 + 1 }}').render({}, new Date(0)).text);`;
  const options = ['--disallow-code-generation-from-strings', '--import', 'tsx', '--input-type=module', '--eval', script];
  const { stdout, stderr } = spawnSync(process.execPath, options, { encoding: 'utf8' });
  expect(stdout.trim(), stderr).toBe('EvalError 2');
});
