/** The layering, enforced: data flows cli → api → workflows → activities → stores | templates | datasets, and schemas is under all. */
const folder = (name) => `^${name}/`;
const only = (from, allowed, comment) => ({
  name: `${from}-imports-only-${allowed.join('-') || 'itself'}`,
  comment,
  severity: 'error',
  from: { path: folder(from) },
  to: {
    path: '^(api|chaos|cli|activities|bench|datasets|dev|estimates|jobs|models|preview|processes|schemas|stores|telemetry|templates|test|tokens|trackers|webhooks|workers|workflows)/',
    pathNot: [from, ...allowed].map(folder),
  },
});

module.exports = {
  forbidden: [
    only('schemas', [], 'Boundaries know nothing of what stands on them.'),
    only('workflows', ['schemas'], 'Deterministic: no store, no process, no clock of its own.'),
    only('stores', ['schemas'], 'Postgres and S3 only; stores never know Temporal.'),
    only('processes', [], 'Code for child processes and threads.'),
    only('datasets', ['schemas', 'processes'], 'Reading and checking rows.'),
    only('models', ['schemas', 'datasets'], 'Checking the files of models.'),
    only('templates', ['schemas', 'datasets', 'processes'], 'Rendering rows.'),
    only('tokens', ['schemas', 'datasets', 'processes'], 'Counting tokens as the trainer does.'),
    only('estimates', ['schemas', 'models'], 'What a job will take.'),
    only(
      'preview',
      ['schemas', 'datasets', 'templates', 'tokens', 'models', 'estimates'],
      'What a job will train on: on a server or from a file, never Temporal or Postgres.',
    ),
    only(
      'jobs',
      ['schemas', 'stores', 'datasets', 'templates', 'estimates', 'models'],
      'A request to a job’s settings and row: for the API and for activities.',
    ),
    only('telemetry', ['schemas', 'stores'], 'Metrics, traces and log lines: what processes tell operators.'),
    only('trackers', ['schemas', 'stores'], 'What each tracker is told and asked; when is the activity’s.'),
    only('webhooks', ['schemas'], 'Which addresses may be called, and the call.'),
    only(
      'activities',
      ['schemas', 'stores', 'datasets', 'models', 'templates', 'tokens', 'jobs', 'trackers', 'webhooks', 'telemetry'],
      'How a step is done; what happens when is the workflow’s.',
    ),
    only(
      'api',
      ['schemas', 'stores', 'datasets', 'templates', 'tokens', 'estimates', 'preview', 'jobs', 'webhooks', 'workflows', 'telemetry'],
      'Starts and messages workflows; never runs a step itself.',
    ),
    only('cli', ['schemas', 'datasets', 'templates', 'tokens', 'estimates', 'preview'], 'Talks HTTP; works offline on files.'),
    only('workers', ['schemas', 'stores', 'activities', 'telemetry', 'processes'], 'Composition roots.'),
    {
      name: 'api-imports-only-messages-of-workflows',
      comment: 'The workflows themselves run in workers.',
      severity: 'error',
      from: { path: folder('api') },
      to: { path: folder('workflows'), pathNot: '^workflows/messages\\.ts$' },
    },
    {
      name: 'stores-templates-and-jobs-know-no-temporal',
      severity: 'error',
      from: { path: '^(stores|templates|tokens|estimates|preview|datasets|jobs|trackers|cli)/' },
      to: { path: '@temporalio' },
    },
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } } },
    { name: 'no-unresolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
    {
      name: 'no-dev-dependencies-in-the-product',
      severity: 'error',
      from: {
        path: '^(api|cli|activities|datasets|estimates|jobs|models|preview|processes|schemas|stores|telemetry|templates|tokens|trackers|webhooks|workers|workflows)/',
      },
      to: { dependencyTypes: ['npm-dev'] },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^(trainer|reporter|\\.temper)/' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default'] },
  },
};
