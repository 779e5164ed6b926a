/** What GPU time costs here, by a table that the operator sets, and how much of it a job may take. */

export interface GpuPrices {
  /** ISO 4217: `USD`. */
  currency: string;
  /** Price of an hour by a part of the device's name (`H100`); `*` is any other device. */
  perHour: Record<string, number>;
}

/** From the setting `TEMPER_GPU_PRICES`, for example `{"currency": "USD", "perHour": {"H100": 2.5, "*": 1}}`. Null when it is not set. @throws Error saying what is wrong with it */
export function readGpuPrices(setting: string | undefined): GpuPrices | null {
  if (!setting) return null;
  const example = 'such as {"currency": "USD", "perHour": {"H100": 2.5, "*": 1}}';
  let value: unknown;
  try {
    value = JSON.parse(setting);
  } catch {
    throw new Error(`TEMPER_GPU_PRICES must be JSON ${example}.`);
  }
  const { currency, perHour } = (value ?? {}) as Partial<GpuPrices>;
  const prices = typeof perHour === 'object' && perHour !== null ? Object.values(perHour) : [];
  const fits = typeof currency === 'string' && /^[A-Z]{3}$/.test(currency) && prices.length > 0;
  if (!fits || !prices.every((price) => Number.isFinite(price) && price >= 0))
    throw new Error(`TEMPER_GPU_PRICES must have a currency and prices of an hour ${example}.`);
  return { currency, perHour: perHour as Record<string, number> };
}

/** The price of an hour on a device (`cuda: NVIDIA H100 80GB HBM3`); undefined when the table has none for it. */
export function pricePerHour({ perHour }: GpuPrices, device: string | undefined): number | undefined {
  const part = Object.keys(perHour).find((name) => name !== '*' && device?.toLowerCase().includes(name.toLowerCase()));
  return perHour[part ?? '*'];
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
