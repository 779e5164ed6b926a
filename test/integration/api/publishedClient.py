"""Drives Temper with the service's published Python client, unpatched: only its base URL, key and account are given.

python publishedClient.py BASE_URL API_KEY ACCOUNT_ID TAG      (TAG: a prefix for the IDs of what is made)

The client validates every reply against its own types. Prints `done` at the end; any difference is an exception.
"""

import json
import sys
import time
import urllib.request

import fireworks
from fireworks import Fireworks

base_url, api_key, account_id, tag = sys.argv[1:5]
ROWS = [{"messages": [{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": f"a{i}"}]} for i in range(40)]
FILE = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def connect(key: str, **options) -> Fireworks:
    return Fireworks(base_url=base_url, api_key=key, _strict_response_validation=True, **options)


def refused(error: type[Exception], call) -> str:
    try:
        call()
    except error as refusal:
        return str(refusal)
    raise AssertionError("was accepted")


def until(condition):
    for _ in range(300):
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError("waited in vain")


def check_account() -> Fireworks:
    # Without an account the client asks which one the key belongs to.
    assert [account.name for account in connect(api_key).accounts.list(page_size=2)] == [f"accounts/{account_id}"]
    client = connect(api_key, account_id=account_id)
    assert client.accounts.get().state == "READY"
    assert "401" in refused(fireworks.AuthenticationError, lambda: connect("wrong", account_id=account_id).accounts.get())
    return client


def check_datasets(client: Fireworks) -> str:
    def is_judged(dataset_id: str):
        return until(lambda: (d := client.datasets.get(dataset_id)) and (d.state == "READY" or d.status.code != "OK") and d)

    first, second = f"{tag}-direct", f"{tag}-signed"
    fields = {"display_name": "Direct", "user_uploaded": {}, "example_count": "40", "format": "CHAT"}
    created = client.datasets.create(dataset_id=first, dataset=fields)
    assert (created.name, created.state) == (f"accounts/{account_id}/datasets/{first}", "UPLOADING")
    uploaded = client.datasets.upload(first, file=("rows.jsonl", FILE))
    assert (uploaded.bytes, uploaded.filename, uploaded.object) == (len(FILE), "rows.jsonl", "file")
    ready = is_judged(first)
    assert (ready.state, ready.example_count, ready.format, ready.average_turn_count) == ("READY", "40", "CHAT", 1.0), ready

    client.datasets.create(dataset_id=second, dataset={"user_uploaded": {}})
    urls = client.datasets.get_upload_endpoint(second, filename_to_size={"rows.jsonl": str(len(FILE))}).filename_to_signed_urls
    headers = {"Content-Type": "application/octet-stream", "x-goog-content-length-range": f"{len(FILE)},{len(FILE)}"}
    urllib.request.urlopen(urllib.request.Request(urls["rows.jsonl"], data=FILE, method="PUT", headers=headers))
    client.datasets.validate_upload(second, body={})
    assert is_judged(second).state == "READY"
    urls = client.datasets.get_download_endpoint(second).filename_to_signed_urls
    assert urllib.request.urlopen(urls["rows.jsonl"]).read() == FILE

    assert client.datasets.update(second, display_name="Renamed").display_name == "Renamed"
    listed = client.datasets.list(page_size=1, filter=f'name = "accounts/{account_id}/datasets/{tag}-*"', order_by="create_time desc")
    assert [d.name.split("/")[-1] for d in listed] == [second, first]
    client.datasets.delete(second)
    assert second in refused(fireworks.NotFoundError, lambda: client.datasets.get(second))
    refused(fireworks.ConflictError, lambda: client.datasets.create(dataset_id=first, dataset={"display_name": "Other"}))
    return created.name


def check_jobs(client: Fireworks, dataset: str) -> None:
    jobs = client.supervised_fine_tuning_jobs
    job_id, model = f"{tag}-job", f"accounts/{account_id}/models/{tag}-model"
    given = dict(
        dataset=dataset, base_model="accounts/fireworks/models/llama-v3p2-1b-instruct", output_model=f"{tag}-model", display_name="A job",
        epochs=2, learning_rate=1e-3, learning_rate_warmup_steps=1, lora_rank=8, max_context_length=128, batch_size_samples=8,
        optimizer_weight_decay=0.01, eval_auto_carveout=True, early_stop=False, gradient_accumulation_steps=1, is_turbo=False, nodes=1,
        region="US_OHIO_1", use_purpose="", mtp_enabled=False, batch_size=32768,
        wandb_config={"enabled": True, "api_key": "0123456789abcdef", "project": "p", "entity": "e", "run_id": "r"},
    )
    job = jobs.create(supervised_fine_tuning_job_id=job_id, **given)
    assert jobs.create(supervised_fine_tuning_job_id=job_id, **given).name == job.name
    assert (job.name, job.state) == (f"accounts/{account_id}/supervisedFineTuningJobs/{job_id}", "JOB_STATE_CREATING")
    got = jobs.get(job_id)
    assert (got.output_model, got.epochs, got.lora_rank, got.batch_size_samples, got.max_context_length) == (model, 2, 8, 8, 128)
    assert (got.wandb_config.project, got.wandb_config.run_id, got.wandb_config.api_key) == ("p", "r", None)
    assert got.job_progress.percent == 0 and got.status.code == "OK"
    assert [j.name for j in jobs.list(filter=f'outputModel = "{model}" AND displayName:"job"', page_size=1)] == [job.name]
    assert "not paused" in refused(fireworks.BadRequestError, lambda: jobs.resume(job_id, body={}))
    assert "32" in refused(fireworks.BadRequestError, lambda: jobs.create(**{**given, "lora_rank": 64}))
    jobs.cancel(job_id, body={})
    until(lambda: jobs.get(job_id).state == "JOB_STATE_CANCELLED")
    jobs.delete(job_id)
    until(lambda: not list(jobs.list(filter=f'outputModel = "{model}"')))


def check_models(client: Fireworks) -> None:
    names = [model.name for model in client.models.list(account_id="fireworks", page_size=7)]
    assert len(names) == 23 and "accounts/fireworks/models/mistral-7b" in names
    tiny = client.models.get("temper-tiny", account_id="temper")
    assert (tiny.kind, tiny.state, tiny.tunable) == ("HF_BASE_MODEL", "READY", True) and int(tiny.base_model_details.parameter_count) > 0

    model_id, config = f"{tag}-addon", json.dumps({"peft_type": "LORA", "r": 3, "target_modules": ["q_proj"]}).encode()
    fields = {"kind": "HF_PEFT_ADDON", "display_name": "Add-on", "peft_details": {"base_model": tiny.name, "r": 8, "target_modules": ["q_proj"]}}
    created = client.models.create(model_id=model_id, model=fields)
    assert (created.state, created.peft_details.base_model) == ("UPLOADING", tiny.name)
    files = {"adapter_config.json": config, "adapter_model.safetensors": b"x" * 20}
    urls = client.models.get_upload_endpoint(model_id, filename_to_size={name: len(content) for name, content in files.items()})
    for name, url in urls.filename_to_signed_urls.items():
        headers = {"Content-Type": "application/octet-stream", "x-goog-content-length-range": f"{len(files[name])},{len(files[name])}"}
        urllib.request.urlopen(urllib.request.Request(url, data=files[name], method="PUT", headers=headers))
    refusal = refused(fireworks.BadRequestError, lambda: client.models.validate_upload(model_id))
    assert "is no safetensors file" in refusal and "between 4 and 64" in refusal, refusal
    assert client.models.get(model_id).status.code == "INVALID_ARGUMENT"
    assert client.models.update(model_id, display_name="Renamed").display_name == "Renamed"
    client.models.delete(model_id)
    refused(fireworks.NotFoundError, lambda: client.models.get(model_id))


def check_users_keys_and_secrets(client: Fireworks) -> None:
    user = client.users.create(role="user", user_id=f"{tag}-user", email="someone@example.org")
    assert client.users.update(f"{tag}-user", role="user", display_name="Someone").display_name == "Someone"
    assert user.name in [one.name for one in client.users.list()] and client.users.get(f"{tag}-user").role == "user"

    key = client.api_keys.create(f"{tag}-user", api_key={"display_name": "laptop"})
    theirs = connect(key.key, account_id=account_id)
    assert theirs.accounts.get().name
    refused(fireworks.PermissionDeniedError, lambda: theirs.users.create(role="admin", user_id="other"))
    assert [(one.key_id, one.key) for one in client.api_keys.list(f"{tag}-user")] == [(key.key_id, None)]
    client.api_keys.delete(f"{tag}-user", key_id=key.key_id)
    refused(fireworks.AuthenticationError, theirs.accounts.get)

    secret = client.secrets.create(key_name="KEY", name=f"accounts/{account_id}/secrets/{tag}-secret", value="canary")
    assert (secret.key_name, secret.value) == ("KEY", None)
    client.secrets.update(f"{tag}-secret", key_name="OTHER", value="canary-2")
    assert client.secrets.get(f"{tag}-secret").key_name == "OTHER" and secret.name in [one.name for one in client.secrets.list()]
    client.secrets.delete(f"{tag}-secret")


client = check_account()
dataset = check_datasets(client)
check_jobs(client, dataset)
check_models(client)
check_users_keys_and_secrets(client)
print("done")
