/* In QEMU's place: takes memory until somebody stops it: as much as RLIMIT_DATA allows, then page
 * tables, which it does not count. */
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#define PIECE ((size_t)1 << 20)
#define AREA ((size_t)1 << 30)
#define TABLE ((size_t)2 << 20) /* what one page of a table maps */

int main(void)
{
    char *piece;
    while ((piece = mmap(NULL, PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                         0)) != MAP_FAILED)
        memset(piece, 1, PIECE);
    for (;;) {
        const volatile char *area =
            mmap(NULL, AREA, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        for (size_t at = 0; area != MAP_FAILED && at < AREA; at += TABLE)
            (void)area[at];
    }
}
