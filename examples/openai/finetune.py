# The whole road with OpenAI's own client: python finetune.py ROWS.jsonl
# Only OPENAI_BASE_URL (…/v1) and OPENAI_API_KEY say that it is Temper that answers.
import sys
import time

from openai import OpenAI

client = OpenAI()
file = client.files.create(file=open(sys.argv[1], "rb"), purpose="fine-tune")
job = client.fine_tuning.jobs.create(
    model="temper-tiny",
    training_file=file.id,
    suffix="support-bot",
    method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1}}},
)
while job.status in ("validating_files", "queued", "running"):
    time.sleep(0.5)
    job = client.fine_tuning.jobs.retrieve(job.id)
print(job.status, job.fine_tuned_model or job.error)
for result in job.result_files:
    print(client.files.content(result).text)
