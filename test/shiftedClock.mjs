/** Imported before a program of a test: its clock is CLOCK_SHIFT_MS ahead. */
const shiftMs = Number(process.env.CLOCK_SHIFT_MS);
const RightDate = Date;

globalThis.Date = class Date extends RightDate {
  constructor(...given) {
    if (given.length > 0) super(...given);
    else super(RightDate.now() + shiftMs);
  }
  static now() {
    return RightDate.now() + shiftMs;
  }
};
