/** `strftime` of a fixed moment, in UTC, with English names as in the C locale. */

const MONTHS = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October', 'November', 'December'];
const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
const DAY_MS = 86_400_000;

/** Formats like C's strftime; `%-d` drops the padding, an unknown directive stays as it is. */
export function formatTime(format: string, time: Date): string {
  return format.replace(/%([-_0^]?)([a-zA-Z%])/g, (whole, flag: string, directive: string) => {
    const text = formatDirective(directive, time);
    if (text === undefined) return whole;
    if (flag === '-') return text.replace(/^[0 ]+(?=.)/, '');
    if (flag === '_') return text.replace(/^0+(?=.)/, (zeros) => ' '.repeat(zeros.length));
    return flag === '^' ? text.toUpperCase() : text;
  });
}

function formatDirective(directive: string, time: Date): string | undefined {
  const two = (value: number): string => String(value).padStart(2, '0');
  const year = time.getUTCFullYear();
  const hour = time.getUTCHours();
  const date = time.getUTCDate();
  const monthName = MONTHS[time.getUTCMonth()]!;
  const dayName = DAYS[time.getUTCDay()]!;
  const dayOfYear = Math.floor((Date.UTC(year, time.getUTCMonth(), date) - Date.UTC(year, 0, 1)) / DAY_MS);
  const ymd = `${year}-${two(time.getUTCMonth() + 1)}-${two(date)}`;
  const hms = `${two(hour)}:${two(time.getUTCMinutes())}:${two(time.getUTCSeconds())}`;
  const usDate = `${two(time.getUTCMonth() + 1)}/${two(date)}/${two(year % 100)}`;
  switch (directive) {
    case 'Y':
      return String(year);
    case 'y':
      return two(year % 100);
    case 'C':
      return two(Math.floor(year / 100));
    case 'm':
      return two(time.getUTCMonth() + 1);
    case 'B':
      return monthName;
    case 'b':
    case 'h':
      return monthName.slice(0, 3);
    case 'd':
      return two(date);
    case 'e':
      return String(date).padStart(2, ' ');
    case 'A':
      return dayName;
    case 'a':
      return dayName.slice(0, 3);
    case 'w':
      return String(time.getUTCDay());
    case 'u':
      return String(time.getUTCDay() || 7);
    case 'j':
      return String(dayOfYear + 1).padStart(3, '0');
    case 'U':
      return two(Math.floor((dayOfYear + 7 - time.getUTCDay()) / 7));
    case 'W':
      return two(Math.floor((dayOfYear + 7 - ((time.getUTCDay() + 6) % 7)) / 7));
    case 'H':
      return two(hour);
    case 'I':
      return two(hour % 12 || 12);
    case 'p':
      return hour < 12 ? 'AM' : 'PM';
    case 'M':
      return two(time.getUTCMinutes());
    case 'S':
      return two(time.getUTCSeconds());
    case 'f':
      return String(time.getUTCMilliseconds() * 1000).padStart(6, '0');
    case 's':
      return String(Math.floor(time.getTime() / 1000));
    case 'F':
      return ymd;
    case 'T':
    case 'X':
      return hms;
    case 'R':
      return hms.slice(0, 5);
    case 'D':
    case 'x':
      return usDate;
    case 'c':
      return `${dayName.slice(0, 3)} ${monthName.slice(0, 3)} ${String(date).padStart(2, ' ')} ${hms} ${year}`;
    case 'n':
      return '\n';
    case 't':
      return '\t';
    case 'z':
    case 'Z':
      return '';
    case '%':
      return '%';
    default:
      return undefined;
  }
}
