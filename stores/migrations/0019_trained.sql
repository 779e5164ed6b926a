-- What training came to, from the moment it is over until another attempt begins: until then a job can be made longer, and from then on it
-- need not be trained again.
alter table jobs add column trained jsonb;
