/** Bounds of one template and one rendering. They are far above any honest use and keep a hostile template cheap. */

/** Characters of template source; the mean of public chat templates is 3,400. */
export const MAX_TEMPLATE_LENGTH = 64 * 1024;
/** Levels of nested statements, brackets or operators in the source. */
export const MAX_NESTING = 100;
/** Work of one rendering: a unit is a loop turn, a call, an item handled by a filter, or 128 characters read or made. */
export const MAX_FUEL = 2_000_000;
/** Characters of one rendering's output, and of any one string made on the way. */
export const MAX_TEXT_LENGTH = 8 * 1024 * 1024;
/** Items of any one list made on the way. */
export const MAX_LIST_LENGTH = 1_000_000;
/** Items of a `range`, as in Jinja's own sandbox. */
export const MAX_RANGE_LENGTH = 100_000;
/** Macro calls within macro calls; Python's own stack ends at about this depth. */
export const MAX_CALL_DEPTH = 150;
/** Bits of an integer. */
export const MAX_INTEGER_BITS = 4096;
