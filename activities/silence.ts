/**
 * When a trainer that says nothing is stuck. What is usual tells: a step of a second and one of ten minutes are both healthy. First the
 * stall is shown, then the process is killed, and the next attempt goes on from the last checkpoint.
 */
import type { TrainerEvent } from '../schemas/trainerProtocol.js';

export interface SilenceLimits {
  /** Before the first step: loading a 70B model is long. */
  startMs: number;
  /** Once it steps, shown as a stall at the earliest after this; killed after twice as long. */
  stallMs: number;
}

export const SILENCE_LIMITS: SilenceLimits = { startMs: 15 * 60_000, stallMs: 60_000 };
/** Of the median step, when that is more. */
const STALL_STEPS = 15;
const KILL_AFTER_STALLS = 2;
/** Steps whose median counts as usual. */
const REMEMBERED_STEPS = 50;

export interface Stall {
  silentSeconds: number;
  /** Median of the latest steps. */
  usualSeconds: number;
  killedInSeconds: number;
}

/** @param stuck  kills the process */
export function watchSilence(limits: SilenceLimits, told: { stalled?: (stall: Stall) => void; stuck: () => void }) {
  const steps: number[] = [];
  let timers: NodeJS.Timeout[] = [];
  let fired = false;
  let lastStepAt: number | null = null;

  const pause = () => {
    for (const timer of timers) clearTimeout(timer);
    timers = [];
  };
  const kill = () => {
    fired = true;
    told.stuck();
  };
  const resume = () => {
    pause();
    if (steps.length === 0) {
      timers = [setTimeout(kill, limits.startMs)];
      return;
    }
    const usualMs = median(steps);
    const stallMs = Math.max(limits.stallMs, STALL_STEPS * usualMs);
    const killMs = KILL_AFTER_STALLS * stallMs;
    const stall = { silentSeconds: stallMs / 1000, usualSeconds: usualMs / 1000, killedInSeconds: (killMs - stallMs) / 1000 };
    timers = [setTimeout(() => told.stalled?.(stall), stallMs), setTimeout(kill, killMs)];
  };
  resume();
  return {
    heard(event: TrainerEvent) {
      if (event.event !== 'step') return;
      const now = performance.now();
      if (lastStepAt !== null) steps.push(now - lastStepAt);
      if (steps.length > REMEMBERED_STEPS) steps.shift();
      lastStepAt = now;
    },
    /** While the worker itself is busy with an event. */
    pause,
    resume,
    stop: pause,
    fired: () => fired,
  };
}

function median(values: number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.floor(sorted.length / 2)]!;
}
