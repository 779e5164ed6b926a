/** Every number that is a rule of the product, with its unit and its source. "Reference" is the documented service whose API Temper speaks. */

// Datasets
/** Reference: "Minimum number of examples is 1", "Maximum number of examples is 3,000,000". */
export const MIN_EXAMPLES = 1;
export const MAX_EXAMPLES = 3_000_000;
/** Reference: "we have the max value of 3 millions of dataset examples * epochs". */
export const MAX_EXAMPLES_TIMES_EPOCHS = 3_000_000;
/** Reference: direct upload is for "file sizes less than 150 MB". Read as MiB, so that no file the reference takes is refused. */
export const MAX_DIRECT_UPLOAD_BYTES = 150 * 1024 * 1024;
/** A file by signed URL; S3's own limit of one PUT. */
export const MAX_SIGNED_UPLOAD_BYTES = 5 * 1024 ** 3;
/** Part of a resumable upload: what a lost connection costs at most. S3 takes 5 MiB to 5 GiB. */
export const UPLOAD_PART_BYTES = 16 * 1024 * 1024;
/** A resumable upload that nobody goes on with is given up after this. */
export const RESUMABLE_UPLOAD_SECONDS = 24 * 3600;
/** Rows whose tokens validation counts, at most; of a longer file they are a sample. The mean is then, at 95 %, within 4.4 % of the rows' standard deviation. */
export const MAX_TOKEN_SAMPLE_ROWS = 2_000;
/** And fewer of long rows, this much of the file in all, but never below that many rows: the tokenizers here read half a megabyte to one a second. */
export const MAX_TOKEN_SAMPLE_BYTES = 4 * 1024 ** 2;
export const MIN_TOKEN_SAMPLE_ROWS = 100;
export const TOKEN_SAMPLE_SEED = 42;
/** A gzip or zstd file, decompressed: no larger than one that may be uploaded as it is. */
export const MAX_DECOMPRESSED_BYTES = MAX_SIGNED_UPLOAD_BYTES;
/** Text shrinks 3 to 20 times, rows that repeat a few hundred times. Beyond this, and beyond a size that does no harm, it is a bomb. */
export const MAX_COMPRESSION_RATIO = 500;
export const MIN_BYTES_FOR_COMPRESSION_RATIO = 64 * 1024 * 1024;
/** Memory that a zstd frame may ask for. zstd's own limit without `--long`. */
export const MAX_ZSTD_WINDOW_BYTES = 128 * 1024 * 1024;
/** OpenAI: "Individual files can be up to 512 MB"; an upload in parts "8 GB in total", of parts of "at most 64 MB", within an hour. */
export const MAX_FILE_BYTES = 512 * 1024 ** 2;
export const MAX_MULTIPART_UPLOAD_BYTES = 8 * 1024 ** 3;
export const MAX_UPLOAD_PART_BYTES = 64 * 1024 ** 2;
export const MULTIPART_UPLOAD_SECONDS = 3600;
/** OpenAI: `expires_after.seconds` is an hour to 30 days. */
export const MIN_FILE_SECONDS = 3600;
export const MAX_FILE_SECONDS = 30 * 24 * 3600;

// Jobs
/** Reference: "a positive integer less than 1024 and in power of 2". */
export const MAX_BATCH_SIZE = 512;
/** Reference: "a positive integer with a max value of 32". */
export const MAX_LORA_RANK = 32;
export const MAX_LEARNING_RATE = 1;
/** Reference: "The default is 15%". */
export const DEFAULT_EVALUATION_SPLIT = 0.15;
/** Rows of the evaluation set that are scored, at most: enough for ±2 points of accuracy at 95 %. */
export const MAX_EVALUATION_EXAMPLES = 2_000;
/** Rows of the evaluation set that are looked at while training: what tells one step from another, at a small part of a step's cost. */
export const MAX_IN_TRAINING_EXAMPLES = 500;
/** Evaluations an epoch with `earlyStop`, and how many in a row must bring no lower loss before training ends. */
export const EARLY_STOP_EVALUATIONS_PER_EPOCH = 4;
export const EARLY_STOP_PATIENCE = 3;
/** A user's chat or field template. The mean of 199 public chat templates is 3.4 KB. */
export const MAX_TEMPLATE_BYTES = 64 * 1024;
/** An attempt that brings no new checkpoint and no new step counts; after this many in a row the job fails. */
export const MAX_ATTEMPTS_WITHOUT_PROGRESS = 4;
/** The same where workers were lost or servers away, which says nothing of the job, unless it happens every time. */
export const MAX_LOST_ATTEMPTS_WITHOUT_PROGRESS = 20;

/** GPUs of one job. One machine has no more. */
export const MAX_ACCELERATORS = 16;

// Retraining
/** Jobs of one run or sweep. A job costs the run's history about 20 events of the 10,240 at which Temporal warns. */
export const MAX_RUN_JOBS = 64;
/** Objects that one run imports; their names stand in the run's record. */
export const MAX_IMPORTED_OBJECTS = 10_000;
/** Runs of a schedule that were skipped because nothing had changed: of these only the latest are kept. */
export const SKIPPED_RUNS_KEPT = 100;
export const DEFAULT_CATCHUP_WINDOW_SECONDS = 3600;
export const DEFAULT_APPROVAL_TIMEOUT_SECONDS = 7 * 24 * 3600;
/** Models that an alias can be rolled back to. */
export const EARLIER_MODELS_KEPT = 50;

// Defaults of training where the base model's row does not say otherwise
export const DEFAULT_SEED = 42;
/** LoRA's alpha as a multiple of the rank (PEFT's and the LoRA paper's common choice). */
export const ALPHA_PER_RANK = 2;
export const DEFAULT_LORA_DROPOUT = 0;
export const DEFAULT_WEIGHT_DECAY = 0;
export const DEFAULT_MAX_GRAD_NORM = 1;
/** Share of all steps spent warming up, when the job gives no number. */
export const DEFAULT_WARMUP_SHARE = 0.03;
export const CHECKPOINTS_KEPT = 2;
export const CHECKPOINT_EVERY_SECONDS = 60;
/** Steps between checkpoints, at most: a share of the run, so that a short run is cut into about ten. */
export const CHECKPOINTS_PER_RUN = 10;

// API
export const DEFAULT_PAGE_SIZE = 50;
export const MAX_PAGE_SIZE = 200;
/** JSON bodies. A job with a template of the largest size stays far below. */
export const MAX_JSON_BODY_BYTES = 1024 * 1024;
/** Reference: display names are under 64 characters. */
export const MAX_DISPLAY_NAME_LENGTH = 63;
export const UPLOAD_URL_SECONDS = 3600;
export const DOWNLOAD_URL_SECONDS = 900;
export const MAX_FILTER_LENGTH = 4096;
