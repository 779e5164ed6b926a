import { expect, it } from 'vitest';
import { cleanSuffix, readModelAliases, tunedModelName } from '../../../../api/openai/modelNames.js';

it('reads aliases for base models, and says what is wrong with one', () => {
  expect(readModelAliases('')).toEqual({});
  expect(readModelAliases('gpt-4o-mini=temper-tiny, gpt-4o=accounts/fireworks/models/llama-v3p1-70b-instruct,')).toEqual({
    'gpt-4o-mini': 'accounts/temper/models/temper-tiny',
    'gpt-4o': 'accounts/fireworks/models/llama-v3p1-70b-instruct',
  });
  for (const text of ['gpt-4o', 'gpt-4o=', '=temper-tiny', 'gpt-4o=no-model', 'a=temper-tiny=b'])
    expect(() => readModelAliases(text)).toThrow(/NAME=BASE_MODEL/);
});

it('makes names whose parts can be told apart, whatever the suffix', () => {
  expect(cleanSuffix(' My: support/bot! ')).toBe('My-support-bot');
  expect(cleanSuffix(null)).toBe('');
  const model = { accountId: 'acme', baseModel: 'accounts/temper/models/temper-tiny', suffix: cleanSuffix('a:b'), id: '7p4lu' };
  expect(tunedModelName(model)).toBe('ft:temper-tiny:acme:a-b:7p4lu');
  expect(tunedModelName({ ...model, suffix: undefined })).toBe('ft:temper-tiny:acme::7p4lu');
});
