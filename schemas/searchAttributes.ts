/** What an operator can list and count by in the Temporal UI. Plain text in the server, always: names and states only, never user text or secrets. */
import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';

const keyword = (name: string) => defineSearchAttributeKey(name, SearchAttributeType.KEYWORD);

export const TEMPER_ACCOUNT = keyword('TemperAccount');
export const TEMPER_STATE = keyword('TemperState');
export const TEMPER_STAGE = keyword('TemperStage');
export const TEMPER_DATASET = keyword('TemperDataset');
export const TEMPER_BASE_MODEL = keyword('TemperBaseModel');
export const TEMPER_KIND = keyword('TemperKind');
export const TEMPER_MODEL = keyword('TemperModel');

export const SEARCH_ATTRIBUTE_NAMES = [
  TEMPER_ACCOUNT,
  TEMPER_STATE,
  TEMPER_STAGE,
  TEMPER_DATASET,
  TEMPER_BASE_MODEL,
  TEMPER_KIND,
  TEMPER_MODEL,
].map((key) => key.name);
