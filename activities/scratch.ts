/** Folders and files of work under way are named after the process that made them, as in `train-PID-…`: those of dead ones are left-overs. */

/** The process that a folder below the scratch is of; null for a name that says none. */
export function scratchOwner(name: string): number | null {
  return Number(/^[a-z]+-(\d+)-/.exec(name)?.[1]) || null;
}

/** Also true of a process that belongs to somebody else. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
