/** Where a job's files lie in the object store. */

/** TensorBoard takes what has `tfevents` in its name. */
export function tensorboardKey(jobUid: string): string {
  return `jobs/${jobUid}/tensorboard/events.out.tfevents.${jobUid}`;
}
