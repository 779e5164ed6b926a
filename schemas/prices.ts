/** What work costs here, by a table that the operator sets, and how much of it a job takes. */

export interface Prices {
  /** ISO 4217: `USD`. */
  currency: string;
  /** Price of a GPU's hour by a part of the device's name (`H100`); `*` is any other device. */
  perHour: Record<string, number>;
  /** Price of a million tokens that are trained on, by a base model's name or ID; `*` is any other. Comes on top of the hours. */
  perMillionTokens?: Record<string, number>;
}

const EXAMPLE = 'such as {"currency": "USD", "perHour": {"H100": 2.5, "*": 1}, "perMillionTokens": {"*": 0.1}}';

/** @param source  what is told of as wrong @throws Error saying what is */
export function checkPrices(value: unknown, source: string): Prices {
  const { currency, perHour = {}, perMillionTokens } = (value ?? {}) as Partial<Prices>;
  const isTable = (table: unknown) =>
    typeof table === 'object' && table !== null && Object.values(table).every((price) => Number.isFinite(price) && (price as number) >= 0);
  const tables = [perHour, perMillionTokens ?? {}];
  const fits = typeof currency === 'string' && /^[A-Z]{3}$/.test(currency) && tables.every(isTable);
  if (!fits || tables.every((table) => Object.keys(table).length === 0))
    throw new Error(`${source} must have a currency and prices of an hour, or of a million tokens, ${EXAMPLE}.`);
  return { currency, perHour, ...(perMillionTokens ? { perMillionTokens } : {}) };
}

export interface Work {
  /** `cuda: NVIDIA H100 80GB HBM3` */
  device: string | undefined;
  /** Of all GPUs together. */
  gpuSeconds: number;
  baseModel: string;
  /** Trained on, in all epochs; null where they are not known. */
  tokens: number | null;
}

/** In the currency of the prices; undefined when the table has no price for a part of it, or that part is not known. */
export function priceOf({ device, gpuSeconds, baseModel, tokens }: Work, { perHour, perMillionTokens }: Prices): number | undefined {
  const part = Object.keys(perHour).find((name) => name !== '*' && device?.toLowerCase().includes(name.toLowerCase()));
  const hour = perHour[part ?? '*'];
  if (!perMillionTokens) return hour === undefined ? undefined : (gpuSeconds / 3600) * hour;
  const million = perMillionTokens[baseModel] ?? perMillionTokens[baseModel.slice(baseModel.lastIndexOf('/') + 1)] ?? perMillionTokens['*'];
  if (million === undefined || tokens === null) return undefined;
  const isByHour = Object.keys(perHour).length > 0;
  if (isByHour && hour === undefined) return undefined;
  return (gpuSeconds / 3600) * (hour ?? 0) + (tokens / 1e6) * million;
}

/** What was measured on earlier jobs of a base model: on which device, over how many tokens. */
export interface Throughput {
  device: string;
  quantization: 'none' | 'nf4';
  tokensPerSecond: number;
  /** Jobs that it was measured on. */
  jobs: number;
}

/** An amount as protobuf's `google.type.Money` has it: whole units, and billionths of one. */
export interface Money {
  currencyCode: string;
  units: string;
  nanos: number;
}

export function asMoney(amount: number, currencyCode: string): Money {
  const cents = Math.round(amount * 100);
  return { currencyCode, units: String(Math.floor(cents / 100)), nanos: (cents % 100) * 10_000_000 };
}
