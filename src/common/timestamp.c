#include "common/timestamp.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SEC_PER_DAY = 86400, NSEC_PER_SEC = 1000000000 };

/* Days since 1970 to a date and back, in the proleptic Gregorian calendar, counted in eras of 400
 * years that begin on 1 March (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms"). No
 * libc call: gmtime_r() takes a lock and looks at the time zone files. */
static void civil_from_days(int64_t days, int *year, int *month, int *day)
{
    days += 719468;
    int64_t era = days / 146097;
    int64_t of_era = days - era * 146097;
    int64_t y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * y + y / 4 - y / 100);
    int64_t m = (5 * of_year + 2) / 153;
    *day = (int)(of_year - (153 * m + 2) / 5 + 1);
    *month = (int)(m < 10 ? m + 3 : m - 9);
    *year = (int)(y + era * 400 + (*month <= 2));
}

static int64_t days_from_civil(int year, int month, int day)
{
    int64_t y = year - (month <= 2), era = y / 400, of_era = y - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static char *put(char *at, int64_t value, int width)
{
    for (int i = width - 1; i >= 0; i--) {
        at[i] = (char)('0' + value % 10);
        value /= 10;
    }
    return at + width;
}

void sr_timestamp_format(int64_t nsec, char text[SR_TIMESTAMP_TEXT])
{
    if (nsec < 0)
        nsec = 0;
    int64_t sec = nsec / NSEC_PER_SEC;
    int year, month, day;
    civil_from_days(sec / SEC_PER_DAY, &year, &month, &day);
    char *at = put(text, year, 4);
    *at++ = '-';
    at = put(at, month, 2);
    *at++ = '-';
    at = put(at, day, 2);
    *at++ = 'T';
    at = put(at, sec / 3600 % 24, 2);
    *at++ = ':';
    at = put(at, sec / 60 % 60, 2);
    *at++ = ':';
    at = put(at, sec % 60, 2);
    *at++ = '.';
    at = put(at, nsec % NSEC_PER_SEC, 9);
    *at++ = 'Z';
    *at = '\0';
}

bool sr_timestamp_parse(const char *text, size_t len, int64_t *nsec)
{
    static const char pattern[] = "dddd-dd-ddTdd:dd:dd.dddddddddZ";
    int64_t fields[7] = {0}; /* year month day hour minute second nsec */
    int field = 0;
    if (len != sizeof pattern - 1)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (pattern[i] != 'd') {
            if (text[i] != pattern[i])
                return false;
            field++;
        } else if (text[i] < '0' || text[i] > '9') {
            return false;
        } else {
            fields[field] = fields[field] * 10 + (text[i] - '0');
        }
    }
    if (fields[0] < 1970 || fields[1] < 1 || fields[1] > 12 || fields[2] < 1 || fields[2] > 31 ||
        fields[3] > 23 || fields[4] > 59 || fields[5] > 59)
        return false;
    int64_t days = days_from_civil((int)fields[0], (int)fields[1], (int)fields[2]);
    int year, month, day;
    civil_from_days(days, &year, &month, &day);
    if (day != fields[2]) /* 31 April is 1 May */
        return false;
    int64_t sec = days * SEC_PER_DAY + fields[3] * 3600 + fields[4] * 60 + fields[5];
    int64_t result;
    if (__builtin_mul_overflow(sec, (int64_t)NSEC_PER_SEC, &result) ||
        __builtin_add_overflow(result, fields[6], &result))
        return false;
    *nsec = result;
    return true;
}

void sr_timestamp_now(char text[SR_TIMESTAMP_TEXT])
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    sr_timestamp_format((int64_t)now.tv_sec * NSEC_PER_SEC + now.tv_nsec, text);
}

bool sr_duration_parse(const char *text, int64_t *seconds)
{
    static const struct {
        char unit;
        int64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    size_t digits = strspn(text, "0123456789");
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (digits > 0 && digits <= 6 && text[digits] == units[i].unit &&
            text[digits + 1] == '\0') {
            *seconds = strtoll(text, NULL, 10) * units[i].seconds;
            return true;
        }
    return false;
}
