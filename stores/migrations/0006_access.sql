alter table accounts add column update_time timestamptz not null default now();

alter table users
  add column service_account boolean not null default false,
  add column update_time timestamptz not null default now(),
  -- Who the person is at the identity provider, from the first sign-in on.
  add column sign_in_issuer text,
  add column sign_in_subject text;
create unique index users_by_sign_in on users (sign_in_issuer, sign_in_subject, account_id);
create index users_by_email on users (lower(email));

-- Which of the deployment's secret keys a hash or a ciphertext is made with; '' before there was more than one.
alter table api_keys add column secret_key_id text not null default '';
alter table secrets add column secret_key_id text not null default '';
create index api_keys_by_user on api_keys (account_id, user_id);
