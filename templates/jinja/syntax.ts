/** The syntax tree of a template. `at` is the offset of a node's first character in the normalised source. */

export type Expression =
  | { type: 'constant'; at: number; value: unknown }
  | { type: 'name'; at: number; name: string }
  | { type: 'list' | 'tuple'; at: number; items: Expression[] }
  | { type: 'dict'; at: number; pairs: [Expression, Expression][] }
  | { type: 'attribute'; at: number; object: Expression; name: string }
  | { type: 'item'; at: number; object: Expression; key: Expression }
  | { type: 'slice'; at: number; object: Expression; start?: Expression; stop?: Expression; step?: Expression }
  | { type: 'call'; at: number; callee: Expression; args: Arguments }
  | { type: 'filter'; at: number; operand: Expression; name: string; args: Arguments }
  | { type: 'test'; at: number; operand: Expression; name: string; args: Arguments }
  | { type: 'unary'; at: number; operator: '+' | '-' | 'not'; operand: Expression }
  | { type: 'binary'; at: number; operator: BinaryOperator; left: Expression; right: Expression }
  | { type: 'and' | 'or'; at: number; left: Expression; right: Expression }
  | { type: 'compare'; at: number; first: Expression; rest: { operator: CompareOperator; operand: Expression }[] }
  | { type: 'concat'; at: number; parts: Expression[] }
  | { type: 'condition'; at: number; test: Expression; then: Expression; otherwise?: Expression };

export type BinaryOperator = '+' | '-' | '*' | '/' | '//' | '%' | '**';
export type CompareOperator = '==' | '!=' | '<' | '<=' | '>' | '>=' | 'in' | 'not in';

export type Arguments = {
  positional: Expression[];
  keywords: { name: string; value: Expression }[];
  /** `*expression` and `**expression`. */
  spread?: Expression;
  keywordSpread?: Expression;
};

/** What a `set`, a `for` or a `with` may assign to. `field` is an attribute of a namespace. */
export type Target =
  | { type: 'name'; at: number; name: string }
  | { type: 'tuple'; at: number; items: Target[] }
  | { type: 'field'; at: number; namespace: string; name: string };

export type Parameter = { name: string; value?: Expression };

/** A filter applied to a whole block: name and arguments, the operand comes from the block. */
export type BlockFilter = { at: number; name: string; args: Arguments };

export type Statement =
  | { type: 'text'; at: number; text: string }
  | { type: 'print'; at: number; value: Expression }
  | { type: 'if'; at: number; branches: { test: Expression; body: Statement[] }[]; otherwise: Statement[] }
  | {
      type: 'for';
      at: number;
      target: Target;
      iterable: Expression;
      test?: Expression;
      recursive: boolean;
      body: Statement[];
      otherwise: Statement[];
    }
  | { type: 'break' | 'continue'; at: number }
  | { type: 'set'; at: number; target: Target; value: Expression }
  | { type: 'setBlock'; at: number; target: Target; filters: BlockFilter[]; body: Statement[] }
  | { type: 'macro'; at: number; name: string; parameters: Parameter[]; body: Statement[] }
  | { type: 'callBlock'; at: number; parameters: Parameter[]; call: Expression & { type: 'call' }; body: Statement[] }
  | { type: 'filterBlock'; at: number; filters: BlockFilter[]; body: Statement[] }
  | { type: 'with'; at: number; targets: { target: Target; value: Expression }[]; body: Statement[] }
  | { type: 'generation'; at: number; body: Statement[] }
  | { type: 'autoescape'; at: number; value: Expression; body: Statement[] }
  | { type: 'block'; at: number; name: string; scoped: boolean; required: boolean; body: Statement[] }
  /** These parse and fail only when they are reached, as there are no other templates. `names` are those an import would assign. */
  | { type: 'extends'; at: number; template: Expression }
  | { type: 'include'; at: number; template: Expression; ignoreMissing: boolean }
  | { type: 'import'; at: number; template: Expression; names: string[] };
