/**
 * Where a name lives, decided when a template is compiled, by Jinja's rules.
 *
 * Each loop body, macro and block is a scope. A name that a scope assigns is the scope's own: it begins with the value it has outside
 * and never leaks out. Every name gets a slot in the frame of its function (the template itself or a macro); a macro reads the slots of
 * the functions around it as they are when it runs. Names that nobody assigns end in the template's scope, filled from the row's data
 * and the globals when rendering begins.
 */
import type { Expression, Statement, Target } from './syntax.js';
import type { Value } from './values.js';

/** The variables of one running function. */
export class Frame {
  constructor(
    readonly slots: Value[],
    readonly parent?: Frame,
  ) {}
}

/** How to find a variable: how many functions out, and which slot there. */
export type Reference = { hops: number; slot: number };

export class FunctionScope {
  slotCount = 0;
  constructor(readonly parent?: FunctionScope) {}
}

export class Scope {
  readonly slots = new Map<string, number>();

  constructor(
    readonly fn: FunctionScope,
    readonly parent?: Scope,
  ) {}

  /** Makes a name this scope's own. */
  declare(name: string): number {
    let slot = this.slots.get(name);
    if (slot === undefined) this.slots.set(name, (slot = this.fn.slotCount++));
    return slot;
  }

  resolve(name: string): Reference {
    let hops = 0;
    for (let scope: Scope = this; ; scope = scope.parent) {
      const slot = scope.slots.get(name) ?? (scope.parent ? undefined : scope.declare(name));
      if (slot !== undefined || !scope.parent) return { hops, slot: slot! };
      if (scope.parent.fn !== scope.fn) hops++;
    }
  }

  /** A scope inside this one, in the same function or, with `fn`, in one of its own. */
  inner(fn: FunctionScope = this.fn): Scope {
    return new Scope(fn, this);
  }
}

export function readReference({ hops, slot }: Reference): (frame: Frame) => Value {
  if (hops === 0) return (frame) => frame.slots[slot];
  if (hops === 1) return (frame) => frame.parent!.slots[slot];
  return (frame) => {
    let at = frame;
    for (let hop = 0; hop < hops; hop++) at = at.parent!;
    return at.slots[slot];
  };
}

/** The names that statements assign in the scope they stand in; bodies that are scopes of their own keep theirs. */
export function assignedNames(statements: Statement[], names = new Set<string>()): Set<string> {
  for (const statement of statements) {
    if (statement.type === 'set' || statement.type === 'setBlock') targetNames(statement.target, names);
    else if (statement.type === 'macro') names.add(statement.name);
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

/** Every name read anywhere inside, however deep. */
export function usedNames(node: Statement[] | Expression, names = new Set<string>()): Set<string> {
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
