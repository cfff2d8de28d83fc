/* The least a guest can do for bench/cold-start: mount the image, run /bin/true as uid 1000, end
 * the machine. */
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
    mkdir("/dev", 0755);
    mkdir("/root", 0755);
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    if (mount("/dev/vda", "/root", "squashfs", MS_RDONLY, NULL) == 0 && chroot("/root") == 0 &&
        chdir("/") == 0) {
        pid_t pid = fork();
        if (pid == 0) {
            if (setgid(1000) == 0 && setuid(1000) == 0)
                execl("/bin/true", "true", (char *)NULL);
            _exit(127);
        }
        waitpid(pid, NULL, 0);
    }
    reboot(RB_AUTOBOOT);
    return 1;
}
