-- Never read: the resource that a request made is the answer to its repetition.
alter table idempotency_keys drop column status, drop column body;
