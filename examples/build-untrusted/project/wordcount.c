/* Prints how many lines and words stdin has. */
#include <ctype.h>
#include <stdio.h>

int main(void)
{
    unsigned long lines = 0, words = 0;
    int inside = 0, c;
    while ((c = getchar()) != EOF) {
        lines += c == '\n';
        words += !inside && !isspace(c);
        inside = !isspace(c);
    }
    printf("%lu %lu\n", lines, words);
    return 0;
}
