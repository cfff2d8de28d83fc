/* attribute FILE NAME: prints the value of an extended attribute. Static, so that any image runs
 * it. */
#include <stdio.h>
#include <sys/xattr.h>

int main(int argc, char **argv)
{
    char value[256];
    ssize_t len = argc == 3 ? lgetxattr(argv[1], argv[2], value, sizeof value) : -1;
    if (len < 0) {
        perror("attribute");
        return 1;
    }
    printf("%.*s\n", (int)len, value);
    return 0;
}
