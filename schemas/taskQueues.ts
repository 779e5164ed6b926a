/** One queue per kind of machine: `control` for workflows and light steps, `data` for CPU and disk, `gpu` for the trainer, `reports` for trackers. */
export const CONTROL_QUEUE = 'temper-control';
export const DATA_QUEUE = 'temper-data';
export const REPORT_QUEUE = 'temper-reports';

/** `temper-gpu` takes any job; a class (say `h100`) has its own queue. */
export function gpuQueue(gpuClass?: string): string {
  return gpuClass ? `temper-gpu-${gpuClass}` : 'temper-gpu';
}

/** Of the control workers' versions, where they have one. */
export const DEPLOYMENT_NAME = 'temper';
