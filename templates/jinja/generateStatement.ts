/** Writes statements as JavaScript that adds what they print to a variable of text. */
import {
  CompileError,
  writeArguments,
  writeCall,
  writeCaptured,
  writeExpression,
  writeFilter,
  writePrinted,
  writeString,
  writeTruth,
} from './generateExpression.js';
import type { Place as ExpressionPlace } from './generateExpression.js';
import { MAX_TEXT_LENGTH } from './limits.js';
import { FunctionScope, assignedNames, targetNames, usedNames, type Block, type Variable } from './scopes.js';
import type { BlockFilter, Expression, Parameter, Statement, Target } from './syntax.js';
import { isTrue } from './values.js';

/** Where statements print: the variable, and the code of the place in the whole output where its text will begin, if that is known. */
type Output = { id: string; base: string | undefined };

/**
 * `blocks` has the function of each `{% block %}`; they read what `isTop` statements, those of the template's own scope, have assigned
 * from `vars`.
 */
export type Place = ExpressionPlace & { out: Output; canBreak: boolean; isTop: boolean; blocks: ReadonlyMap<string, string> };

/** The lines of a body in the scope it stands in, which must have declared the names the body assigns. */
export function writeBody(statements: Statement[], place: Place): string[] {
  return statements.flatMap((statement) => writeStatement(statement, place));
}

function writeStatement(node: Statement, place: Place): string[] {
  switch (node.type) {
    case 'text':
      return [`${place.out.id} += ${writeString(node.text)};`];
    case 'print':
      return [`run.at = ${node.value.at};`, ...writePrint(writePrinted(node.value, place), place)];
    case 'if':
      return writeIf(node, place);
    case 'for':
      return node.recursive
        ? writeRecursiveLoop(node, place)
        : writeBlock(writeLoop(node, place, writeExpression(node.iterable, place), '0'));
    case 'break':
    case 'continue':
      if (!place.canBreak) throw new CompileError(`'${node.type}' stands outside of a loop`, node.at);
      return [`${node.type};`];
    case 'set':
      return [`run.at = ${node.at};`, ...writeAssignment(node.target, writeExpression(node.value, place), place)];
    case 'setBlock':
      return writeCapture(node.body, node.filters, place, (text) =>
        writeAssignment(node.target, place.escapes === 'never' ? text : `toCaptured(run, ${text})`, place),
      );
    case 'filterBlock':
      return writeCapture(node.body, node.filters, place, (text) =>
        writePrint(`requireText(${text}, 'what a filtered block prints')`, place),
      );
    case 'with':
      return writeWith(node, place);
    case 'macro':
      return [...writeMacro(`${place.scope.resolve(node.name).id} = `, node, place), ...writeExport(node.name, place)];
    case 'callBlock':
      return writeCallBlock(node, place);
    case 'generation':
      return writeGeneration(node.body, place);
    case 'autoescape':
      return writeAutoescape(node, place);
    case 'block':
      return writeBlockCall(node, place);
    case 'extends':
      if (!place.isTop) throw new CompileError("'extends' must stand in the template itself, not in a loop or a block", node.at);
      return [`run.at = ${node.at};`, `load(${writeExpression(node.template, place)}, false);`];
    case 'include':
      return [`run.at = ${node.at};`, `load(${writeExpression(node.template, place)}, ${node.ignoreMissing});`];
    case 'import':
      return [`run.at = ${node.at};`, `load(${writeExpression(node.template, place)}, false);`];
  }
}

function indent(lines: string[]): string[] {
  return lines.map((line) => `  ${line}`);
}

function writeBlock(lines: string[]): string[] {
  return ['{', ...indent(lines), '}'];
}

function nextId(prefix: string, place: Place): string {
  return `${prefix}${place.scope.fn.counter.next++}`;
}

function writePrint(text: string, { out }: Place): string[] {
  return [`${out.id} += ${text};`, `if (${out.id}.length > ${MAX_TEXT_LENGTH}) stop(run, ${out.id});`];
}

/** The lines at the start of a function's body: its variables. Written after the body, which decides what they are. */
export function writeDeclarations(fn: FunctionScope): string[] {
  const ids = [...fn.variables, ...fn.temporaries];
  return ids.length === 0 ? [] : [`let ${ids.join(', ')};`];
}

/** A scope inside the same function for a body. `given` are names set on the way in; other assigned names start as they are outside. */
function openScope(place: Place, body: Statement[], given: Set<string>): { place: Place; enter: string[] } {
  const scope = place.scope.inner();
  for (const name of given) scope.declare(name);
  const copies = [...assignedNames(body)].filter((name) => !given.has(name));
  const enter = copies.map((name) => {
    const outer = place.scope.resolve(name).id;
    return `${scope.declare(name).id} = ${outer};`;
  });
  return { place: { ...place, scope, soft: false, isTop: false }, enter };
}

function writeIf(node: Statement & { type: 'if' }, place: Place): string[] {
  const inside = { ...place, soft: true };
  const lines: string[] = [];
  node.branches.forEach(({ test, body }, index) => {
    const condition = writeTruth(test, inside);
    if (index === 0) lines.push(`run.at = ${test.at};`, `if (${condition}) {`);
    else lines.push(`} else if (run.at = ${test.at}, ${condition}) {`);
    lines.push(...indent(writeBody(body, inside)));
  });
  const otherwise = writeBody(node.otherwise, inside);
  if (otherwise.length > 0) lines.push('} else {', ...indent(otherwise));
  return [...lines, '}'];
}

/** `value` is code; it is read once. */
function writeAssignment(target: Target, value: string, place: Place): string[] {
  switch (target.type) {
    case 'name':
      // An assigned name always belongs to the scope at hand.
      return [`${place.scope.resolve(target.name).id} = ${value};`, ...writeExport(target.name, place)];
    case 'tuple': {
      const items = nextId('x', place);
      const parts = target.items.flatMap((item, index) => writeAssignment(item, `${items}[${index}]`, place));
      return [`const ${items} = unpack(run, ${value}, ${target.items.length});`, ...parts];
    }
    case 'field':
      return [`setField(${value}, ${place.scope.resolve(target.namespace).id}, ${writeString(target.name)});`];
  }
}

/** Shows the blocks what the template's own scope has just assigned. */
function writeExport(name: string, { isTop, blocks, scope }: Place): string[] {
  return isTop && blocks.size > 0 ? [`vars.set(${writeString(name)}, ${scope.resolve(name).id});`] : [];
}

/** Prints a block where it stands. A scoped one sees the variables around it too. */
function writeBlockCall({ at, name, scoped, required }: Block, place: Place): string[] {
  if (required) return [`run.at = ${at};`, `lackBlock(${writeString(name)});`];
  const start = place.out.base === undefined ? '-1' : positionIn(place.out);
  const locals = scoped ? [...place.scope.visible()].map(([local, { id }]) => `[${writeString(local)}, ${id}]`) : [];
  const vars = scoped ? `scopeOf(vars, [${locals.join(', ')}])` : 'vars';
  return [`run.at = ${at};`, ...writePrint(`${place.blocks.get(name)!}(run, ${vars}, ${start})`, place)];
}

/** The value counts while the body runs, macros and filters that it calls included; where it is a constant, it is known here too. */
function writeAutoescape({ at, value, body }: Statement & { type: 'autoescape' }, place: Place): string[] {
  const outer = nextId('e', place);
  const inside = openScope(place, body, new Set());
  const condition = writeTruth(value, inside.place);
  const escapes = value.type !== 'constant' ? 'maybe' : isTrue(value.value) ? 'yes' : 'no';
  return writeBlock([
    `run.at = ${at};`,
    `const ${outer} = run.autoescape;`,
    ...inside.enter,
    `setAutoescape(run, ${condition});`,
    ...writeBody(body, { ...inside.place, escapes: place.escapes === 'maybe' ? 'maybe' : escapes }),
    `run.autoescape = ${outer};`,
  ]);
}

/** Runs a body with an output of its own; `use` says what becomes of the text once the filters have been at it. */
function writeCapture(statements: Statement[], filters: BlockFilter[], place: Place, use: (text: string) => string[]): string[] {
  const out = { id: nextId('o', place), base: undefined };
  const inside = openScope({ ...place, out }, statements, new Set());
  const body = writeBody(statements, inside.place);
  const captured = filters.length > 0 ? writeCaptured(out.id, place) : out.id;
  const text = filters.reduce((operand, filter) => writeFilter(filter, operand, place), captured);
  return writeBlock([`let ${out.id} = "";`, ...inside.enter, ...body, ...use(text)]);
}

function writeWith(node: Statement & { type: 'with' }, place: Place): string[] {
  const inside = openScope(place, node.body, new Set(node.targets.flatMap(({ target }) => [...targetNames(target)])));
  const values = node.targets.map(({ target, value }) => ({ target, id: nextId('x', place), code: writeExpression(value, place) }));
  return writeBlock([
    ...values.map(({ id, code }) => `const ${id} = ${code};`),
    ...inside.enter,
    ...values.flatMap(({ target, id }) => writeAssignment(target, id, inside.place)),
    ...writeBody(node.body, inside.place),
  ]);
}

/**
 * The loop itself, as the lines of a block. `depth` is the code of how many loops of a recursive one are around it, `recurse` that of the
 * function which `loop(…)` calls.
 */
function writeLoop(node: Statement & { type: 'for' }, place: Place, iterable: string, depth: string, recurse = 'undefined'): string[] {
  const usesLoop = node.recursive || usedNames(node.body).has('loop');
  const [items, item, index, loop] = ['x', 'x', 'i', 'l'].map((prefix) => nextId(prefix, place)) as [string, string, string, string];
  const given = targetNames(node.target);
  let loopVariable: Variable | undefined;
  const inside = openScope(place, node.body, usesLoop ? new Set([...given, 'loop']) : given);
  if (usesLoop) {
    loopVariable = inside.place.scope.resolve('loop');
    loopVariable.isLoop = !given.has('loop') && !assignedNames(node.body).has('loop');
  }
  const body = writeBody(node.body, { ...inside.place, canBreak: true });
  const otherwise = openScope(place, node.otherwise, new Set());
  const otherwiseBody = writeBody(node.otherwise, otherwise.place);
  const turns = otherwiseBody.length > 0 ? nextId('n', place) : undefined;
  const keep = node.test ? writeLoopTest(node.target, node.test, item, place) : undefined;

  const lines = [`run.at = ${node.at};`];
  // `loop` knows its length, so the test runs ahead of the body; without `loop` it runs turn by turn.
  if (keep && usesLoop) {
    const kept = [`if (--run.fuel < 0) stop(run, ${place.out.id});`, ...keep.assign, `if (${keep.test}) ${items}.push(${item});`];
    lines.push(`const ${items} = [];`, `for (const ${item} of itemsOf(run, ${iterable})) {`, ...indent(kept), '}');
  } else lines.push(`const ${items} = itemsOf(run, ${iterable});`);
  if (loopVariable) lines.push(`const ${loop} = new Loop(${items}, ${depth}, ${recurse});`);
  if (turns) lines.push(`let ${turns} = 0;`);
  const turn = [`const ${item} = ${items}[${index}];`];
  if (keep && !usesLoop) turn.push(`if (--run.fuel < 0) stop(run, ${place.out.id});`, ...keep.assign, `if (!${keep.test}) continue;`);
  turn.push(`if (--run.fuel < 0 || ${place.out.id}.length > ${MAX_TEXT_LENGTH}) stop(run, ${place.out.id});`);
  turn.push(...inside.enter);
  if (loopVariable) turn.push(`${loop}.index0 = ${index};`, `${loopVariable.id} = ${loop};`);
  turn.push(...writeAssignment(node.target, item, inside.place), ...body);
  // As in Jinja, a turn that breaks or continues does not count.
  if (turns) turn.push(`${turns}++;`);
  lines.push(`for (let ${index} = 0; ${index} < ${items}.length; ${index}++) {`, ...indent(turn), '}');
  if (turns) lines.push(`if (${turns} === 0) {`, ...indent([...otherwise.enter, ...otherwiseBody]), '}');
  return lines;
}

function writeLoopTest(target: Target, test: Expression, item: string, place: Place): { assign: string[]; test: string } {
  const scope = place.scope.inner();
  for (const name of targetNames(target)) scope.declare(name);
  const inside = { ...place, scope, soft: false };
  return { assign: writeAssignment(target, item, inside), test: writeTruth(test, inside) };
}

/** A function of its own, so that each level has its own variables. It gives its text. */
function writeRecursiveLoop(node: Statement & { type: 'for' }, place: Place): string[] {
  const [level, out, base] = ['r', 'o', 'b'].map((prefix) => nextId(prefix, place)) as [string, string, string];
  const fn = new FunctionScope(place.scope.fn.counter);
  const inside: Place = { ...place, scope: place.scope.inner(fn), out: { id: out, base }, canBreak: false, isTop: false };
  const recurse = `(run, items, depth) => ${writeCaptured(`${level}(run, items, depth, -1)`, place)}`;
  const lines = writeLoop(node, inside, 'items', 'depth', recurse);
  const start = place.out.base === undefined ? '-1' : positionIn(place.out);
  return writeBlock([
    `const ${level} = (run, items, depth, ${base}) => {`,
    ...indent([
      ...writeDeclarations(fn),
      `let ${out} = "";`,
      'enterCall(run);',
      ...writeBlock(lines),
      'run.callDepth--;',
      `return ${out};`,
    ]),
    '};',
    `run.at = ${node.at};`,
    ...writePrint(`${level}(run, ${writeExpression(node.iterable, place)}, 0, ${start})`, place),
  ]);
}

/** The code of where in the whole output the next text goes; below 0 when it goes nowhere known. */
function positionIn({ id, base }: Output): string {
  return base === '0' ? `${id}.length` : `(${base} < 0 ? -1 : ${base} + ${id}.length)`;
}

type MacroNode = { name: string; parameters: Parameter[]; body: Statement[] };

/** Makes the macro when its definition is reached; it reads the variables around it as they are when it runs. */
function writeMacro(assign: string, { name, parameters, body }: MacroNode, place: Place): string[] {
  const fn = new FunctionScope(place.scope.fn.counter);
  const out = { id: nextId('o', place), base: undefined };
  const outer: Place = { ...place, scope: place.scope.inner(fn), soft: false, out, canBreak: false, isTop: false };
  const given = new Set(parameters.map((parameter) => parameter.name));
  const used = usedNames(body);
  const takes = (extra: 'caller' | 'kwargs' | 'varargs'): boolean => used.has(extra) && !given.has(extra);
  const [takesCaller, takesKeywords, takesArguments] = [takes('caller'), takes('kwargs'), takes('varargs')];
  if (takesCaller) given.add('caller');
  if (takesKeywords) given.add('kwargs');
  if (takesArguments) given.add('varargs');
  const inside = openScope(outer, body, given);
  const idOf = (variable: string): string => inside.place.scope.resolve(variable).id;
  const bind = parameters.map((parameter, index) => {
    const key = writeString(parameter.name);
    const otherwise = parameter.value ? writeExpression(parameter.value, inside.place) : 'undefined';
    return `${idOf(parameter.name)} = args.length > ${index} ? args[${index}] : rest?.has(${key}) ? take(rest, ${key}) : ${otherwise};`;
  });
  if (takesCaller) bind.push(`${idOf('caller')} = rest && take(rest, "caller");`);
  bind.push(takesKeywords ? `${idOf('kwargs')} = rest ?? new Map();` : `refuseKeywords(${writeString(name)}, rest);`);
  bind.push(
    takesArguments
      ? `${idOf('varargs')} = tuple(args.slice(${parameters.length}));`
      : `refuseArguments(${writeString(name)}, args, ${parameters.length});`,
  );
  const lines = writeBody(body, inside.place);
  const shape = {
    parameters: parameters.map((parameter) => parameter.name),
    caller: takesCaller,
    catchKeywords: takesKeywords,
    catchArguments: takesArguments,
  };
  return [
    `${assign}macro(${writeString(name)}, ${place.constants.add(shape)}, (run, args, rest) => {`,
    ...indent([...writeDeclarations(fn), `let ${out.id} = "";`, ...inside.enter, ...bind, ...lines, `return ${out.id};`]),
    '});',
  ];
}

function writeCallBlock(node: Statement & { type: 'callBlock' }, place: Place): string[] {
  const caller = nextId('m', place);
  const args = writeArguments(node.call.args, place);
  const keywords = `new Map([...${args.keywords}, ["caller", ${caller}]])`;
  const call = writeCall(node.call, place, { positional: args.positional, keywords });
  return writeBlock([
    ...writeMacro(`const ${caller} = `, { ...node, name: 'caller' }, place),
    `run.at = ${node.call.at};`,
    ...writePrint(`requireText(${call}, 'what a call block prints')`, place),
  ]);
}

/** `{% generation %}`: prints its body and notes where it stands in the output. */
function writeGeneration(statements: Statement[], place: Place): string[] {
  const { out } = place;
  const inside = openScope(place, statements, new Set());
  const body = [...inside.enter, ...writeBody(statements, { ...inside.place, canBreak: false })];
  if (out.base === undefined) return writeBlock([...body, 'run.hasLostSpan = true;']);
  const [start, end] = [nextId('s', place), nextId('s', place)];
  return writeBlock([
    `const ${start} = ${positionIn(out)};`,
    ...body,
    `const ${end} = ${positionIn(out)};`,
    ...(out.base === '0' ? [] : [`if (${start} < 0) run.hasLostSpan = true;`]),
    `if (${end} > ${start}) run.spans.push([${start}, ${end}]);`,
  ]);
}
