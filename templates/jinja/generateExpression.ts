/**
 * Writes expressions as JavaScript.
 *
 * Only what is written here becomes code: operators, calls of operations.ts, variables by number. A template's strings enter it as JSON
 * and nothing else of a template does; other constants, and words for messages, are passed beside the code (`k0`, `k1`, …).
 */
import { findAttribute, isChanging } from './access.js';
import { applySign } from './arithmetic.js';
import { TemplateError } from './errors.js';
import { FILTERS, PLAIN_TEXT_FILTERS } from './filters.js';
import type { Operand } from './operations.js';
import type { Scope } from './scopes.js';
import type { Arguments, BlockFilter, Expression } from './syntax.js';
import { TESTS } from './tests.js';
import { TEXT_METHODS } from './textMethods.js';

/** What is passed beside the code. */
export class Constants {
  readonly values: unknown[] = [];

  /** The code that reads the value. */
  add(value: unknown): string {
    const known = typeof value === 'function' ? this.values.indexOf(value) : -1;
    return `k${known >= 0 ? known : this.values.push(value) - 1}`;
  }
}

/**
 * `soft`: inside an `if`, where Jinja lets an unknown filter or test pass until it is reached. `escapes`: whether what is printed is
 * escaped; 'maybe' where `{% autoescape %}` computes that, 'never' in a template without one.
 */
export type Place = { scope: Scope; soft: boolean; constants: Constants; escapes: 'never' | 'no' | 'maybe' | 'yes' };

/** A mistake found while compiling, with its offset in the source. */
export class CompileError extends TemplateError {
  constructor(
    message: string,
    readonly offset: number,
  ) {
    super('TEMPLATE_SYNTAX', message);
  }
}

/** The code of an expression that gives its value. `run` is the rendering in progress. */
export function writeExpression(node: Expression, place: Place): string {
  switch (node.type) {
    case 'constant':
      return writeConstant(node.value, place);
    case 'name':
      return place.scope.resolve(node.name).id;
    case 'list':
      return writeList(node.items, place);
    case 'tuple':
      return `tuple(${writeList(node.items, place)})`;
    case 'dict': {
      const pairs = node.pairs.map(([key, value]) => `[${writeExpression(key, place)}, ${writeExpression(value, place)}]`);
      const dict = node.pairs.every(([key]) => isString(key)) ? 'new Map' : 'dict';
      return `${dict}([${pairs.join(', ')}])`;
    }
    case 'attribute':
      return writeAttribute(node, place);
    case 'item':
      return writeItem(node, place);
    case 'slice': {
      const bounds = [node.start, node.stop, node.step].map((bound) => (bound ? writeExpression(bound, place) : 'null'));
      return `slice(run, ${writeExpression(node.object, place)}, ${bounds.join(', ')}, ${writeOperand(node.object, place)})`;
    }
    case 'call':
      return writeCall(node, place, writeArguments(node.args, place));
    case 'filter':
      return writeFilter(node, writeExpression(node.operand, place), place);
    case 'unary': {
      if (node.operator === 'not') return writeTruth(node, place);
      const { operand } = node;
      if (operand.type === 'constant' && typeof operand.value === 'number') {
        return writeConstant(applySign(node.operator, operand.value), place);
      }
      return `sign(run, "${node.operator}", ${writeExpression(operand, place)}, ${writeOperand(operand, place)})`;
    }
    case 'binary': {
      const operands = `${writeOperand(node.left, place)}, ${writeOperand(node.right, place)}`;
      const values = `${writeExpression(node.left, place)}, ${writeExpression(node.right, place)}`;
      return node.operator === '+' ? `add(run, ${values}, ${operands})` : `binary(run, "${node.operator}", ${values}, ${operands})`;
    }
    case 'and':
    case 'or': {
      if (isBoolean(node)) return writeTruth(node, place);
      const { fn } = place.scope;
      const left = writeExpression(node.left, place);
      const value = fn.borrow();
      const right = writeExpression(node.right, place);
      fn.giveBack(value);
      return node.type === 'and'
        ? `(isTrue(${value} = ${left}) ? ${right} : ${value})`
        : `(isTrue(${value} = ${left}) ? ${value} : ${right})`;
    }
    case 'test':
    case 'compare':
      return writeTruth(node, place);
    case 'concat':
      if (place.escapes === 'yes') return `joinSafely(run, ${writeList(node.parts, place)})`;
      return `checkText(run, ${node.parts.map((part) => writeText(part, place)).join(' + ')})`;
    case 'condition': {
      const inside = { ...place, soft: true };
      const otherwise = node.otherwise ? writeExpression(node.otherwise, inside) : 'undefined';
      return `(${writeTruth(node.test, inside)} ? ${writeExpression(node.then, inside)} : ${otherwise})`;
    }
  }
}

/** The code of an expression that gives the text that printing it gives, escaped where it is to be. */
export function writePrinted(node: Expression, place: Place): string {
  if (place.escapes === 'yes') return `toSafe(run, ${writeExpression(node, place)})`;
  if (place.escapes === 'maybe') return `toPrinted(run, ${writeExpression(node, place)})`;
  return writeText(node, place);
}

/** The code of an expression that gives its text. */
function writeText(node: Expression, place: Place): string {
  const code = writeExpression(node, place);
  return (node.type === 'constant' && typeof node.value === 'string') || node.type === 'concat' ? code : `toText(run, ${code})`;
}

/** The code of an expression that gives whether its value is true. */
export function writeTruth(node: Expression, place: Place): string {
  if (node.type === 'unary' && node.operator === 'not') return `!${writeTruth(node.operand, place)}`;
  if (node.type === 'and' || node.type === 'or') {
    return `(${writeTruth(node.left, place)} ${node.type === 'and' ? '&&' : '||'} ${writeTruth(node.right, place)})`;
  }
  if (node.type === 'test') return writeTest(node, place);
  if (node.type === 'compare') return writeCompare(node, place);
  if (node.type === 'constant' && typeof node.value === 'boolean') return String(node.value);
  return `isTrue(${writeExpression(node, place)})`;
}

/** Whether the value is true or false whatever the row. */
function isBoolean(node: Expression): boolean {
  if (node.type === 'and' || node.type === 'or') return isBoolean(node.left) && isBoolean(node.right);
  return node.type === 'test' || node.type === 'compare' || (node.type === 'unary' && node.operator === 'not');
}

function writeConstant(value: unknown, place: Place): string {
  if (typeof value === 'string') return writeString(value);
  if (value === null || value === undefined || typeof value === 'boolean') return String(value);
  if (typeof value === 'number' && Number.isSafeInteger(value) && !Object.is(value, -0)) return value < 0 ? `(${value})` : String(value);
  return place.constants.add(value);
}

/** Every JSON string is a JavaScript string of the same meaning. */
export function writeString(text: string): string {
  return JSON.stringify(text);
}

function writeList(items: Expression[], place: Place): string {
  return `[${items.map((item) => writeExpression(item, place)).join(', ')}]`;
}

/** Names that a plain object inherits: reading one without asking for own keys would find JavaScript's. */
const INHERITED = new Set(Object.getOwnPropertyNames(Object.prototype));

function writeAttribute(node: Expression & { type: 'attribute' }, place: Place): string {
  const { object, name } = node;
  if (object.type === 'name') {
    const variable = place.scope.resolve(object.name);
    const read = variable.isLoop && LOOP_READS[name];
    if (read) return read(variable.id);
  }
  const code = writeExpression(object, place);
  const text = writeString(name);
  const operand = writeOperand(object, place);
  const isPlainKey = !INHERITED.has(name) && !isChanging({}, name) && findAttribute({}, name) === undefined;
  if (!isPlainKey) return `attribute(run, ${code}, ${text}, ${operand})`;
  const value = place.scope.fn.borrow();
  place.scope.fn.giveBack(value);
  const inNamespace = name.startsWith('_') ? '' : `${value} instanceof Namespace ? ${value}.attributes.get(${text}) : `;
  return `(isPlain(${value} = ${code}) ? ${value}[${text}] : ${inNamespace}attribute(run, ${value}, ${text}, ${operand}))`;
}

/** Attributes of `loop` that templates read in every turn. */
const LOOP_READS: Record<string, (loop: string) => string> = Object.assign(Object.create(null) as object, {
  index0: (loop: string) => `${loop}.index0`,
  index: (loop: string) => `(${loop}.index0 + 1)`,
  first: (loop: string) => `(${loop}.index0 === 0)`,
  last: (loop: string) => `(${loop}.index0 === ${loop}.items.length - 1)`,
  length: (loop: string) => `${loop}.items.length`,
});

function writeItem(node: Expression & { type: 'item' }, place: Place): string {
  const { fn } = place.scope;
  const object = writeExpression(node.object, place);
  const key = node.key.type === 'constant' ? node.key.value : undefined;
  if (typeof key !== 'string' || INHERITED.has(key)) {
    return `item(run, ${object}, ${writeExpression(node.key, place)}, ${writeOperand(node.object, place)})`;
  }
  const text = writeString(key);
  const [value, found] = [fn.borrow(), fn.borrow()];
  fn.giveBack(value, found);
  const otherwise = `item(run, ${value}, ${text}, ${writeOperand(node.object, place)})`;
  return `(isPlain(${value} = ${object}) && (${found} = ${value}[${text}]) !== undefined ? ${found} : ${otherwise})`;
}

/** Positional arguments and keywords, each as code. */
export type ArgumentCode = { positional: string; keywords: string };

export function writeArguments(args: Arguments, place: Place): ArgumentCode {
  let positional = args.positional.length === 0 ? 'NO_ARGUMENTS' : writeList(args.positional, place);
  if (args.spread) positional = `spread(run, ${positional}, ${writeExpression(args.spread, place)})`;
  const pairs = args.keywords.map(({ name, value }) => `[${writeString(name)}, ${writeExpression(value, place)}]`);
  let keywords = pairs.length === 0 ? 'NO_KEYWORDS' : `new Map([${pairs.join(', ')}])`;
  if (args.keywordSpread) {
    keywords = `spreadKeywords(run, ${pairs.length === 0 ? 'new Map()' : keywords}, ${writeExpression(args.keywordSpread, place)})`;
  }
  return { positional, keywords };
}

export function writeCall({ callee }: Expression & { type: 'call' }, place: Place, { positional, keywords }: ArgumentCode): string {
  const called = writeOperand(callee, place);
  if (callee.type !== 'attribute') return `call(run, ${writeExpression(callee, place)}, ${positional}, ${keywords}, ${called})`;
  const object = writeExpression(callee.object, place);
  const textMethod = TEXT_METHODS.get(callee.name);
  const operation = textMethod ? 'callTextMethodOf' : 'callMethod';
  const method = textMethod ? place.constants.add(textMethod) : writeString(callee.name);
  return `${operation}(run, ${object}, ${method}, ${positional}, ${keywords}, ${writeOperand(callee.object, place)}, ${called})`;
}

/** The code of text that was captured: a safe string where texts are escaped when printed. */
export function writeCaptured(text: string, { escapes }: Place): string {
  return escapes === 'yes' ? `toMarkup(${text})` : escapes === 'maybe' ? `toCaptured(run, ${text})` : text;
}

/** A filter applied to what the code `operand` gives: an expression's value, or the text of a block. */
export function writeFilter(node: BlockFilter, operand: string, place: Place): string {
  const { positional, keywords } = writeArguments(node.args, place);
  const plain = PLAIN_TEXT_FILTERS.get(node.name);
  if (plain && positional === 'NO_ARGUMENTS' && keywords === 'NO_KEYWORDS') {
    return `filterText(run, ${place.constants.add(plain)}, ${findNamed(FILTERS, 'filter', node, place)}, ${operand})`;
  }
  return `filter(run, ${findNamed(FILTERS, 'filter', node, place)}, ${operand}, ${positional}, ${keywords})`;
}

function writeTest(node: Expression & { type: 'test' }, place: Place): string {
  const operand = writeExpression(node.operand, place);
  if (node.name === 'defined') return `(${operand} !== undefined)`;
  if (node.name === 'none') return `(${operand} === null)`;
  if (node.name === 'filter' || node.name === 'test') {
    return `${place.constants.add(node.name === 'filter' ? FILTERS : TESTS)}.has(toKey(${operand}))`;
  }
  const { positional, keywords } = writeArguments(node.args, place);
  return `filter(run, ${findNamed(TESTS, 'test', node, place)}, ${operand}, ${positional}, ${keywords})`;
}

/** The code that gives the filter or test of that name. */
function findNamed(
  known: ReadonlyMap<string, unknown>,
  kind: 'filter' | 'test',
  { name, at }: { name: string; at: number },
  place: Place,
): string {
  const found = known.get(name);
  if (found !== undefined) return place.constants.add(found);
  if (!place.soft) throw new CompileError(`No ${kind} named '${name}'.`, at);
  return `unknown(run, "${kind}", ${writeString(name)}, ${at})`;
}

function writeCompare(node: Expression & { type: 'compare' }, place: Place): string {
  const { fn } = place.scope;
  const borrowed: string[] = [];
  const isChain = node.rest.length > 1;
  let left = writeExpression(node.first, place);
  let leftNode = node.first;
  const comparisons = node.rest.map(({ operator, operand }, index) => {
    let right = writeExpression(operand, place);
    if (isChain && index < node.rest.length - 1) {
      // The middle of a chain is compared twice and computed once.
      const value = fn.borrow();
      borrowed.push(value);
      right = `(${value} = ${right})`;
    }
    const code = writeRelation(operator, { node: leftNode, code: left }, { node: operand, code: right }, place);
    left = borrowed.at(-1) ?? left;
    leftNode = operand;
    return code;
  });
  fn.giveBack(...borrowed);
  return isChain ? `(${comparisons.join(' && ')})` : comparisons[0]!;
}

type Written = { node: Expression; code: string };

function writeRelation(operator: string, left: Written, right: Written, place: Place): string {
  if (operator === '==' || operator === '!=') {
    const no = operator === '!=' ? '!' : '';
    if (isBoolean(left.node) && isBoolean(right.node)) return `(${left.code} ${no === '' ? '===' : '!=='} ${right.code})`;
    if (isString(right.node)) return `${no}isText(${left.code}, ${right.code})`;
    return `${no}isEqual(run, ${left.code}, ${right.code})`;
  }
  if (operator === 'in' || operator === 'not in') {
    return `${operator === 'in' ? '' : '!'}isIn(run, ${left.code}, ${right.code})`;
  }
  const operands = `${writeOperand(left.node, place)}, ${writeOperand(right.node, place)}`;
  return `relate(run, "${operator}", ${left.code}, ${right.code}, ${operands})`;
}

function isString(node: Expression): boolean {
  return node.type === 'constant' && typeof node.value === 'string';
}

/** The constant that describes an operand in messages. */
function writeOperand(node: Expression, place: Place): string {
  const path = describePath(node);
  const operand: Operand = { at: node.at, words: path === undefined ? 'this value' : `'${path}'` };
  return place.constants.add(operand);
}

/** An expression in words short enough for a message: `message.tool_calls[0]`. */
function describePath(node: Expression): string | undefined {
  if (node.type === 'name') return node.name;
  if (node.type === 'attribute') {
    const object = describePath(node.object);
    return object && `${object}.${node.name}`;
  }
  if (node.type === 'item') {
    const object = describePath(node.object);
    const key = node.key.type === 'constant' ? JSON.stringify(node.key.value) : describePath(node.key);
    return object && `${object}[${key ?? '...'}]`;
  }
  return undefined;
}
