"""Sends one run to Weights & Biases with its own client, told by JSON lines on stdin, answering by JSON lines on stdout.

In, first the run, then rows as they come, at last the end:
    {"open": {"baseUrl", "apiKey", "entity", "project", "id", "name", "notes", "config", "tags", "folder"}}
    {"rows": [{"step": 12, "values": {"train/loss": 0.7, ...}}, ...]}   steps in rising order
    {"finish": {"summary": {...}, "samples": {"columns", "rows"} or null, "model": {"name", "uri", "metadata"} or null, "exitCode": 0 or 1}}
Out:
    {"event": "opened", "shifted": false}   the client holds the run; `shifted`: steps go on after rows that are not ours
    {"event": "finished"}                   everything was handed over
    {"event": "failed", "status": 403}      the HTTP status that the client met, or null
What arrived is for the other side to ask of the server: the client knows only what it has sent. The process ends with its stdin.
"""

import json
import os
import re
import sys


def main() -> None:
    # The client prints, and quotes requests: stdout is ours alone, and nobody reads the rest.
    out = os.fdopen(os.dup(1), 'w', encoding='utf-8')
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)

    def answer(event: str, **fields) -> None:
        out.write(json.dumps({'event': event, **fields}) + '\n')
        out.flush()

    run = None
    try:
        for line in sys.stdin:
            message = json.loads(line)
            if 'open' in message:
                run = open_run(message['open'])
                answer('opened')
            elif 'rows' in message:
                for row in message['rows']:
                    # Where others have logged to the run, ours come after theirs: a step that is lower than the last is thrown away.
                    run.log(row['values'], step=max(row['step'], run.step), commit=True)
            elif 'finish' in message:
                finish(run, message['finish'])
                answer('finished')
                os._exit(0)
    except Exception as error:  # whatever it was, the other side decides
        found = re.search(r'\b([45]\d\d)\b', str(error))
        answer('failed', status=int(found.group(1)) if found else None)
    # Without its usual end: that would wait for a server that may be away.
    os._exit(1)


def open_run(wanted: dict):
    folder = wanted['folder']
    os.environ.update(HOME=folder, WANDB_DIR=folder, WANDB_CACHE_DIR=folder, WANDB_CONFIG_DIR=folder, WANDB_DATA_DIR=folder)
    import wandb

    settings = wandb.Settings(
        base_url=wanted['baseUrl'],
        api_key=wanted['apiKey'],
        silent=True,
        console='off',
        init_timeout=60,
        # This machine is not the one that trains: its load, its code and its packages say nothing of the run.
        x_disable_stats=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        disable_code=True,
        disable_git=True,
        x_save_requirements=False,
        # An outage is waited for outside, by asking the server; the client gives up early.
        x_graphql_retry_max=2,
        x_graphql_retry_wait_min_seconds=0.5,
        x_graphql_retry_wait_max_seconds=2,
        x_graphql_timeout_seconds=20,
        x_file_stream_timeout_seconds=20,
        x_file_stream_retry_wait_min_seconds=1,
        x_file_stream_retry_wait_max_seconds=10,
        x_file_transfer_retry_max=3,
        x_file_transfer_timeout_seconds=60,
    )
    run = wandb.init(
        entity=wanted['entity'],
        project=wanted['project'],
        id=wanted['id'],
        name=wanted['name'],
        notes=wanted['notes'],
        config=wanted['config'],
        tags=wanted['tags'],
        resume='allow',
        dir=folder,
        settings=settings,
    )
    # Charts are over the job's steps, which are the run's own unless others log to it, too.
    run.define_metric('train/global_step', hidden=True)
    for group in ('train/*', 'eval/loss'):
        run.define_metric(group, step_metric='train/global_step')
    return run


def finish(run, end: dict) -> None:
    import wandb

    samples, model = end['samples'], end['model']
    if samples:
        # In the summary rather than a row of the history: rows are the job's steps.
        run.summary['samples'] = wandb.Table(columns=samples['columns'], data=samples['rows'])
    if model:
        artifact = wandb.Artifact(model['name'], type='model', metadata=model['metadata'])
        artifact.add_reference(model['uri'], name='model', checksum=False)
        run.log_artifact(artifact)
    run.summary.update(end['summary'])
    run.finish(exit_code=end['exitCode'])


if __name__ == '__main__':
    main()
