/* In QEMU's place: takes memory until somebody stops it, as what RLIMIT_DATA does not count. */
#include <string.h>
#include <sys/mman.h>

int main(void)
{
    for (;;) {
        char *piece =
            mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (piece != MAP_FAILED)
            memset(piece, 1, 1 << 20);
    }
}
