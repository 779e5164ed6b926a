"""Drives Temper with the official Python client, unpatched: only its base URL and key are given.

python pythonClient.py BASE_URL API_KEY TAG FILE      (FILE: a JSONL file of conversations)

The client validates every reply against its own types. Prints `done` at the end; any difference is an exception.
"""

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import openai
from openai import OpenAI

base_url, api_key, tag, path = sys.argv[1:5]
content = Path(path).read_bytes()
client = OpenAI(base_url=base_url, api_key=api_key, max_retries=0, _strict_response_validation=True)


def refused(error: type[openai.APIStatusError], call) -> openai.APIStatusError:
    try:
        call()
    except error as refusal:
        assert refusal.request_id
        return refusal
    raise AssertionError("was accepted")


def check_files() -> str:
    file = client.files.create(file=Path(path), purpose="fine-tune", expires_after={"anchor": "created_at", "seconds": 3600})
    assert (file.object, file.bytes, file.purpose) == ("file", len(content), "fine-tune")
    assert client.files.wait_for_processing(file.id, poll_interval=0.2).status == "processed"
    assert client.files.content(file.id).read() == content
    assert file.id in [one.id for one in client.files.list(limit=2, purpose="fine-tune", order="desc")]
    assert refused(openai.NotFoundError, lambda: client.files.retrieve("file-none")).param == "file_id"

    half = len(content) // 2
    upload = client.uploads.create(bytes=len(content), filename="rows.jsonl", mime_type="application/jsonl", purpose="fine-tune")
    parts = [client.uploads.parts.create(upload.id, data=piece).id for piece in (content[:half], content[half:])]
    done = client.uploads.complete(upload.id, part_ids=parts, md5=hashlib.md5(content).hexdigest())
    assert done.status == "completed" and done.file is not None
    assert client.files.wait_for_processing(done.file.id, poll_interval=0.2).status == "processed"
    assert client.files.content(done.file.id).read() == content
    assert client.files.delete(done.file.id).deleted
    # The client's own helper cuts a file into parts by itself.
    whole = client.uploads.upload_file_chunked(file=Path(path), mime_type="application/jsonl", purpose="fine-tune", part_size=1000)
    assert whole.status == "completed" and whole.file is not None and whole.file.bytes == len(content)
    return file.id


def check_jobs(file_id: str) -> None:
    jobs = client.fine_tuning.jobs
    job = jobs.create(
        model="llama-v3p2-1b-instruct", training_file=file_id, suffix="py", seed=3, metadata={"tag": tag},
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": "auto", "batch_size": 4, "learning_rate_multiplier": 2}}},
    )
    assert (job.object, job.status, job.model, job.seed) == ("fine_tuning.job", "queued", "llama-v3p2-1b-instruct", 3)
    assert (job.hyperparameters.batch_size, job.hyperparameters.learning_rate_multiplier, job.hyperparameters.n_epochs) == (4, 2, 1)
    assert job.error is None and job.method is not None and job.method.type == "supervised"
    assert [one.id for one in jobs.list(limit=1, metadata={"tag": tag})] == [job.id]
    assert jobs.list_events(job.id, limit=1).data[0].object == "fine_tuning.job.event"
    assert list(jobs.checkpoints.list(job.id)) == []
    jobs.cancel(job.id)
    for _ in range(300):
        if jobs.retrieve(job.id).status == "cancelled":
            break
        time.sleep(0.1)
    assert jobs.retrieve(job.id).status == "cancelled"
    assert refused(openai.BadRequestError, lambda: jobs.pause(job.id)).code == "illegal_state"
    assert refused(openai.NotFoundError, lambda: jobs.create(model="gpt-9", training_file=file_id)).code == "model_not_found"
    assert refused(openai.BadRequestError, lambda: jobs.create(model="temper-tiny", training_file="file-none")).param == "training_file"
    unknown = refused(openai.BadRequestError, lambda: jobs.create(model="temper-tiny", training_file=file_id, extra_body={"colour": "red"}))
    assert (unknown.code, unknown.param, unknown.type) == ("unknown_parameter", "colour", "invalid_request_error")


def check_models_and_webhooks() -> None:
    assert "temper-tiny" in [model.id for model in client.models.list()]
    assert client.models.retrieve("temper-tiny").owned_by == "temper"
    refused(openai.AuthenticationError, lambda: OpenAI(base_url=base_url, api_key="wrong", max_retries=0).models.list())
    hook = client.webhooks.create(name=tag, url="https://example.com/hooks", event_types=["fine_tuning.job.succeeded"])
    assert hook.signing_secret.startswith("whsec_") and client.webhooks.retrieve(hook.id).url == "https://example.com/hooks"
    assert client.webhooks.delete(hook.id).deleted


def check_example() -> None:
    """What the documentation shows, as it stands there."""
    example = Path(__file__).parents[3] / "examples" / "openai" / "finetune.py"
    ran = subprocess.run([sys.executable, example, path], capture_output=True, text=True, timeout=160)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("succeeded ft:temper-tiny:") and "step,train_loss" in ran.stdout, ran.stdout


file = check_files()
check_jobs(file)
check_models_and_webhooks()
check_example()
print("done")
