/**
 * Where a name lives, decided when a template is compiled, by Jinja's rules.
 *
 * Each loop body, macro and block is a scope. A name that a scope assigns is the scope's own: it begins with the value it has outside
 * and never leaks out. Every such name becomes a variable of the generated function around it (the template itself, a macro or a
 * recursive loop); functions inside read it as it is when they run. Names that nobody assigns end in the template's scope, filled from
 * the row's data and the globals when rendering begins. A `{% block %}` is a template of its own, which sees what the template's own
 * scope has assigned so far.
 */
import type { BlockFilter, Expression, Statement, Target } from './syntax.js';

/** One variable of the generated code. `isLoop`: it holds the `loop` of a for statement and nothing else ever. */
export type Variable = { id: string; isLoop: boolean };

/** A function of the generated code: the variables that it declares, and those in use for a moment only. */
export class FunctionScope {
  readonly variables: string[] = [];
  readonly temporaries: string[] = [];
  private readonly free: string[] = [];

  /** `counter` is shared by all functions of a template, so that no two variables have one name. */
  constructor(readonly counter: { next: number }) {}

  declare(): string {
    const id = `v${this.counter.next++}`;
    this.variables.push(id);
    return id;
  }

  /** A variable for a value that is needed twice. It must be given back when the code that reads it has been written. */
  borrow(): string {
    const free = this.free.pop();
    if (free !== undefined) return free;
    const id = `t${this.counter.next++}`;
    this.temporaries.push(id);
    return id;
  }

  giveBack(...ids: string[]): void {
    this.free.push(...ids);
  }
}

export class Scope {
  readonly variables = new Map<string, Variable>();

  constructor(
    readonly fn: FunctionScope,
    readonly parent?: Scope,
  ) {}

  /** Makes a name this scope's own. */
  declare(name: string, isLoop = false): Variable {
    let variable = this.variables.get(name);
    if (variable === undefined) this.variables.set(name, (variable = { id: this.fn.declare(), isLoop }));
    return variable;
  }

  resolve(name: string): Variable {
    return this.variables.get(name) ?? (this.parent ? this.parent.resolve(name) : this.declare(name));
  }

  /** The names that have a variable here or further out, the inner ones first. */
  visible(): Map<string, Variable> {
    return new Map([...(this.parent?.visible() ?? []), ...this.variables]);
  }

  /** A scope inside this one, in the same function or, with `fn`, in one of its own. */
  inner(fn: FunctionScope = this.fn): Scope {
    return new Scope(fn, this);
  }
}

/** The names that statements assign in the scope they stand in; bodies that are scopes of their own keep theirs. */
export function assignedNames(statements: Statement[], names = new Set<string>()): Set<string> {
  for (const statement of statements) {
    if (statement.type === 'set' || statement.type === 'setBlock') targetNames(statement.target, names);
    else if (statement.type === 'macro') names.add(statement.name);
    else if (statement.type === 'import') for (const name of statement.names) names.add(name);
    else if (statement.type === 'if') {
      for (const branch of statement.branches) assignedNames(branch.body, names);
      assignedNames(statement.otherwise, names);
    }
  }
  return names;
}

export function targetNames(target: Target, names = new Set<string>()): Set<string> {
  if (target.type === 'name') names.add(target.name);
  else if (target.type === 'tuple') for (const item of target.items) targetNames(item, names);
  return names;
}

/**
 * The names that statements assign before the statements themselves read them. Those begin undefined, whatever the row has under the name:
 * a macro or a loop that reads one before it is assigned reads nothing. What is assigned under an `if` only begins with the row's value.
 */
export function namesSetFirst(statements: Statement[]): Set<string> {
  const first = new Set<string>();
  const mentioned = new Set<string>();
  for (const statement of statements) {
    for (const name of namesRead(statement)) mentioned.add(name);
    const assigned = assignedNames([statement]);
    for (const name of assigned) if (statement.type !== 'if' && !mentioned.has(name)) first.add(name);
    for (const name of assigned) mentioned.add(name);
  }
  return first;
}

/** The names that a statement reads in the scope it stands in. */
function namesRead(statement: Statement): Set<string> {
  switch (statement.type) {
    case 'print':
    case 'set':
      return usedNames(statement.value);
    case 'for':
      return usedNames(statement.iterable);
    case 'callBlock':
      return usedNames(statement.call);
    case 'extends':
    case 'include':
    case 'import':
      return usedNames(statement.template);
    case 'filterBlock':
      return usedNames(statement.filters);
    case 'with':
      return usedNames(statement.targets.map(({ value }) => value));
    case 'if':
      return new Set(
        [...statement.branches, { body: statement.otherwise }].flatMap((branch) => [
          ...('test' in branch ? usedNames(branch.test) : []),
          ...branch.body.flatMap((inner) => [...namesRead(inner)]),
        ]),
      );
    default:
      return new Set();
  }
}

export type Block = Statement & { type: 'block' };

/** The blocks anywhere inside, however deep, in their order. */
export function blocksIn(statements: Statement[]): Block[] {
  return statements.flatMap((statement) => {
    const inner = bodiesOf(statement).flatMap(blocksIn);
    return statement.type === 'block' ? [statement, ...inner] : inner;
  });
}

/** The statements directly inside one. */
export function bodiesOf(statement: Statement): Statement[][] {
  if (statement.type === 'if') return [...statement.branches.map(({ body }) => body), statement.otherwise];
  if (statement.type === 'for') return [statement.body, statement.otherwise];
  return 'body' in statement ? [statement.body] : [];
}

/** Every name read anywhere inside, however deep. */
export function usedNames(node: Statement[] | Expression | Expression[] | BlockFilter[], names = new Set<string>()): Set<string> {
  const visit = (value: unknown): void => {
    if (Array.isArray(value)) value.forEach(visit);
    else if (typeof value === 'object' && value !== null) {
      const part = value as { type?: unknown; name?: unknown; value?: unknown };
      if (part.type === 'name' && typeof part.name === 'string') names.add(part.name);
      Object.values(value).forEach(visit);
    }
  };
  visit(node);
  return names;
}
