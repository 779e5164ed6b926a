/** What the processes tell Prometheus: on their own ports, and every metric that the dashboard and the alerts ask for. */
import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { devFile, freshId, toJsonl, until, uploadDataset } from '../temper.js';

const read = (name: string) => readFileSync(new URL(`../../dashboards/${name}`, import.meta.url), 'utf8');
const scrape = async (url: string) => (await fetch(url, { signal: AbortSignal.timeout(5_000) })).text();
/** Names by their TYPE lines. */
const namesIn = (text: string) => [...text.matchAll(/^# TYPE (\S+)/gm)].map((match) => match[1]!);
const metricsIn = (expression: string) =>
  (expression.match(/\b(temper|temporal|process)_[a-z_]+/g) ?? []).map((name) => name.replace(/_(bucket|sum|count)$/, ''));

let texts: Record<string, string>;
beforeAll(async () => {
  await uploadDataset(freshId('measured'), toJsonl([{ text: 'a', label: 'b' }]));
  texts = await until('every process to be scraped', async () => {
    const scraped = await Promise.all(Object.entries(devFile().metricsUrls).map(async ([name, url]) => [name, await scrape(url)] as const));
    return Object.fromEntries(scraped);
  });
});

it('every process is ready and has its metrics, the workers those of Temporal’s SDK, too', async () => {
  expect(Object.keys(texts).sort()).toEqual(['api', 'control', 'data', 'gpu', 'reports']);
  for (const [name, url] of Object.entries(devFile().metricsUrls)) {
    for (const probe of ['healthz', 'readyz']) expect((await fetch(url.replace('metrics', probe))).status).toBe(200);
    expect((await fetch(url.replace('metrics', 'other'))).status).toBe(404);
    expect(namesIn(texts[name]!)).toContain('process_resident_memory_bytes');
    if (name !== 'api') expect(texts[name]).toMatch(/^temporal_worker_task_slots_available\{/m);
  }
});

it('counts what happened', () => {
  expect(texts['api']).toMatch(
    /^temper_http_requests_total\{method="POST",route="\/v1\/accounts\/:account\/datasets\/:id:upload",status="200"\} [1-9]/m,
  );
  expect(texts['api']).toMatch(/^temper_datasets\{state="READY"\} [1-9]/m);
  expect(texts['api']).toMatch(/^temper_workers\{kind="gpu",version="[\d.]+"\} 1/m);
  expect(texts['control']).toMatch(/^temper_datasets_validated_total\{valid="true"\} [1-9]/m);
  expect(Object.values(texts).join('')).not.toMatch(/account="|job="|tk_/);
});

describe('dashboard and alerts', () => {
  const rules = (
    parse(read('alerts.yaml')) as { groups: { rules: { alert: string; expr: string; annotations: { summary: string } }[] }[] }
  ).groups.flatMap((group) => group.rules);
  const panels = (JSON.parse(read('temper.json')) as { panels: { title: string; targets: { expr: string }[] }[] }).panels;
  const asked = [
    ...rules.map(({ alert, expr }) => [alert, expr] as const),
    ...panels.flatMap(({ title, targets }) => targets.map(({ expr }) => [title, expr] as const)),
  ];

  it('ask for metrics that exist', () => {
    const known = new Set(Object.values(texts).flatMap(namesIn));
    const unknown = asked.flatMap(([where, expr]) =>
      metricsIn(expr)
        .filter((name) => !known.has(name))
        .map((name) => `${where}: ${name}`),
    );
    expect(unknown).toEqual([]);
    expect(asked.length).toBeGreaterThan(25);
    for (const [where, expr] of asked) expect(metricsIn(expr), where).not.toEqual([]);
    for (const rule of rules) expect(rule.annotations.summary, rule.alert).toBeTruthy();
  });
});
