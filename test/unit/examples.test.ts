/** The example files are what examples/README.md says: well formed, and with nothing in them that the base model has read. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

type Row = Record<string, string>;
interface Conversation {
  messages: { role: string; content: string }[];
}

const read = <T>(name: string): T[] =>
  readFileSync(new URL(`../../examples/${name}`, import.meta.url), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as T);

/** The same text for a reader: capitals, punctuation and spaces aside. */
const plain = (text: string) =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, ' ')
    .trim();

const requests = read<Row>('clinc150.jsonl');
const instructions = read<Row>('alpaca.jsonl');
const conversations = read<Conversation>('chat.jsonl');
const readUtterances = read<{ utterances: string[] }>('pretraining/utterances.jsonl').flatMap((row) => row.utterances);
const readInstructions = read<Row>('pretraining/instructions.jsonl');
const readConversations = read<Conversation>('pretraining/conversations.jsonl');

describe('the datasets', () => {
  it('have as many requests of each of 150 intents, none twice', () => {
    const counts = new Map<string, number>();
    for (const { intent } of requests) counts.set(intent!, (counts.get(intent!) ?? 0) + 1);
    expect(counts.size).toBe(150);
    expect(new Set(counts.values()).size).toBe(1);
    expect(new Set(requests.map(({ text }) => plain(text!))).size).toBe(requests.length);
  });

  it('have the fields that their settings files name', () => {
    for (const row of requests) expect(Object.keys(row)).toEqual(['text', 'intent']);
    for (const row of instructions) expect(Object.keys(row)).toEqual(['instruction', 'input', 'output']);
  });

  it('have turns that alternate from the user to the assistant', () => {
    for (const { messages } of conversations) {
      const turns = messages[0]!.role === 'system' ? messages.slice(1) : messages;
      expect(turns.length % 2).toBe(0);
      turns.forEach(({ role, content }, index) => {
        expect(role).toBe(index % 2 === 0 ? 'user' : 'assistant');
        expect(content).not.toBe('');
      });
    }
  });
});

describe('the base model', () => {
  const textsRead = [
    ...readUtterances,
    ...readInstructions.flatMap(({ instruction, input, output }) => [`${instruction} ${input}`, output!]),
    ...readConversations.flatMap(({ messages }) => messages.map(({ content }) => content)),
  ];
  const seen = new Set(textsRead.map(plain));
  const met = (text: string) => seen.has(plain(text));
  /** Short answers ("Yes.") are everybody's. */
  const isOwn = (text: string) => plain(text).split(' ').length >= 5;

  it('has read no request, instruction, answer or conversation of the datasets', () => {
    expect(seen.size).toBeGreaterThan(10_000);
    expect(requests.filter(({ text }) => met(text!))).toEqual([]);
    expect(
      instructions.filter(({ instruction, input, output }) => met(`${instruction} ${input}`) || (isOwn(output!) && met(output!))),
    ).toEqual([]);
    const texts = conversations.flatMap(({ messages }) => messages.map(({ content }) => content));
    expect(texts.filter((text) => isOwn(text) && met(text))).toEqual([]);
    expect(conversations.filter(({ messages }) => met(messages[0]!.content))).toEqual([]);
  });

  it("has read no intent's name, but for ordinary words", () => {
    const names = new Set(requests.map(({ intent }) => intent!).filter((name) => name.includes('_')));
    const text = textsRead.join('\n');
    expect([...names].filter((name) => text.includes(name))).toEqual([]);
  });
});
