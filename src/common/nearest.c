#include "common/nearest.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>

/* Optimal string alignment distance (Levenshtein with swapped neighbours), cut off above 2. */
static unsigned distance(const char *a, const char *b)
{
    enum { MAX = 32 };
    size_t n = strlen(a), m = strlen(b);
    if (n >= MAX || m >= MAX || (n > m ? n - m : m - n) > 2)
        return 3;
    unsigned row[MAX + 1][MAX + 1];
    for (size_t i = 0; i <= n; i++)
        row[i][0] = (unsigned)i;
    for (size_t j = 0; j <= m; j++)
        row[0][j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++)
        for (size_t j = 1; j <= m; j++) {
            unsigned same = tolower((unsigned char)a[i - 1]) != tolower((unsigned char)b[j - 1]);
            unsigned best = row[i - 1][j - 1] + same;
            best = row[i - 1][j] + 1 < best ? row[i - 1][j] + 1 : best;
            best = row[i][j - 1] + 1 < best ? row[i][j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                row[i - 2][j - 2] + 1 < best)
                best = row[i - 2][j - 2] + 1;
            row[i][j] = best;
        }
    return row[n][m];
}

const char *sr_nearest_name(const char *name, const char *const *known)
{
    const char *nearest = NULL;
    unsigned best = strlen(name) < 4 ? 2 : 3; /* short names are near to everything */
    for (; *known != NULL; known++) {
        unsigned d = distance(name, *known);
        if (d < best) {
            best = d;
            nearest = *known;
        }
    }
    return nearest;
}
