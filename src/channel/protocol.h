/*
 * The guest channel: the frames that safe-run and the guest's init exchange over one byte stream (a
 * virtio-serial port under QEMU). This header is all that host and guest share.
 *
 * Theory of operation
 *
 *   guest                                     host
 *     HELLO{version}                 ->                     init is up, nothing is known of the run
 *                                        <-  SPEC{bytes}*   the run specification, in pieces
 *                                        <-  START          it is complete; run it
 *     STARTED                        ->                     exec succeeded, or:
 *     REFUSED{status,sentence}       ->                     it did not, as a shell would say
 *     USAGE{cpu,memory}*             ->                     each second, in the guest's own view
 *     STDOUT{bytes}* STDERR{bytes}*  ->  <-  STDIN{bytes}* STDIN_EOF SIGNAL{number}* CLOSE{stream}*
 *                                            RESIZE{rows,columns}*
 *     CREDIT{stdin,n}                ->  <-  CREDIT{stdout|stderr,n}
 *     EXIT{status,rusage}            ->                     both streams are complete
 *   and for each output of the specification, in its order:
 *     ARCHIVE{bytes}*                ->  <-  CREDIT{archive,n} ENOUGH{index}
 *     COLLECTED{result,sentence}     ->                     its archive is complete, or why there
 *     is none
 *   and in the end, whatever it was: the host, which has it all, ends the VM.
 *
 * Sessions. A session is one command in the VM, with its streams, its outputs and its end. Each
 * frame names the session that it is about; HELLO and HOSTS are about the VM itself, whose number
 * is CHANNEL_SESSION_VM. For now there is one session, CHANNEL_SESSION_COMMAND, which exists from
 * hello on. A frame of any other is an error of the protocol.
 *
 * Versions. HELLO is the same in every version, so that parts that do not fit are told apart: a
 * host refuses a guest whose version is not its own. Up to version 3 frames named no session; a
 * guest takes no specification from a host that does not.
 *
 * The guest does not end by itself, because a frame that it has written may still be on its way,
 * and is lost when the machine resets.
 *
 * An archive is a cpio of the "newc" format. Its names are "o", which is the output itself, and
 * what begins with "o/"; each directory comes before what is in it, each file by itself, however
 * many names it has. After ENOUGH the guest sends no more of that output than its COLLECTED.
 *
 * Flow control. Data of a stream is sent only against credit, in bytes. Each side starts with
 * CHANNEL_WINDOW for each stream it sends, and gets back what the receiver has passed on. So
 * neither side ever holds more than a window of a stream, one slow stream does not stop the others,
 * and both sides may always read the channel to the end. A guest that sends beyond its credit
 * breaks the protocol.
 *
 * Everything is little endian. The host treats each byte as hostile (channel.h).
 */
#ifndef SR_CHANNEL_PROTOCOL_H
#define SR_CHANNEL_PROTOCOL_H

#include <stdbool.h>
#include <stdint.h>

#define CHANNEL_VERSION 4
#define CHANNEL_MAGIC 0x4e555253u /* "SRUN" */

/* Header of every frame; payload follows. */
struct channel_frame_header {
    uint32_t length; /* of the payload */
    uint8_t type;    /* enum channel_frame_type */
    uint8_t zero;
    uint16_t session; /* channel_frame_session(type) */
};

enum channel_session { CHANNEL_SESSION_VM, CHANNEL_SESSION_COMMAND };

/* Large enough that the cost per frame vanishes, small enough for a fixed buffer on both sides. */
#define CHANNEL_FRAME_MAX_PAYLOAD (64u * 1024u)
/* A window covers the round trip of a slow emulated guest many times over. */
#define CHANNEL_WINDOW (256u * 1024u)
/* Arguments and environment; Linux's own limit for them is 2 MiB with the default stack. */
#define CHANNEL_SPEC_MAX (2u * 1024u * 1024u)

enum channel_frame_type {
    /* guest to host */
    CHANNEL_FRAME_HELLO = 1,   /* struct channel_frame_hello */
    CHANNEL_FRAME_STARTED = 2, /* empty */
    CHANNEL_FRAME_REFUSED = 3, /* u32 enum channel_refused, then a sentence (no NUL) */
    CHANNEL_FRAME_STDOUT = 4,  /* bytes */
    CHANNEL_FRAME_STDERR = 5,  /* bytes */
    CHANNEL_FRAME_EXIT = 6,    /* struct channel_frame_exit */
    CHANNEL_FRAME_ARCHIVE = 8, /* bytes */
    CHANNEL_FRAME_COLLECTED =
        9, /* u32 enum channel_collected, then a sentence (no NUL), empty when it is OK */
    CHANNEL_FRAME_USAGE = 10, /* struct channel_frame_usage */
    /* both ways */
    CHANNEL_FRAME_CREDIT = 7, /* struct channel_frame_credit */
    /* host to guest */
    CHANNEL_FRAME_SPEC = 16,      /* a piece of the specification */
    CHANNEL_FRAME_START = 17,     /* empty */
    CHANNEL_FRAME_STDIN = 18,     /* bytes */
    CHANNEL_FRAME_STDIN_EOF = 19, /* empty */
    CHANNEL_FRAME_SIGNAL = 20,    /* u32 Linux signal number, for the command's process group */
    CHANNEL_FRAME_HOSTS = 22,     /* text: more of /etc/hosts */
    CHANNEL_FRAME_CLOSE = 21,  /* u32 stream: nobody reads it any more; the command gets SIGPIPE */
    CHANNEL_FRAME_ENOUGH = 23, /* u32 index of an output whose archive nobody reads any more */
    CHANNEL_FRAME_RESIZE =
        24, /* struct channel_frame_resize: the terminal's size from now on. A command
                                has no terminal yet: the guest takes it and does nothing */
};

/* The session that a frame of this type is about. */
static inline uint16_t channel_frame_session(uint8_t type)
{
    bool is_of_vm = type == CHANNEL_FRAME_HELLO || type == CHANNEL_FRAME_HOSTS;
    return (uint16_t)(is_of_vm ? CHANNEL_SESSION_VM : CHANNEL_SESSION_COMMAND);
}

enum channel_stream {
    CHANNEL_STREAM_STDIN,
    CHANNEL_STREAM_STDOUT,
    CHANNEL_STREAM_STDERR,
    CHANNEL_STREAM_ARCHIVE,
    CHANNEL_STREAM_COUNT
};

/* Why a command was not started: as a shell would say it, or that an input could not be mounted. */
enum channel_refused {
    CHANNEL_REFUSED_SETUP = 125,
    CHANNEL_REFUSED_NOT_EXEC = 126,
    CHANNEL_REFUSED_NOT_FOUND = 127,
    CHANNEL_REFUSED_MOUNT = 128,
};

/* What became of an output in the guest. */
enum channel_collected {
    CHANNEL_COLLECTED_OK,
    CHANNEL_COLLECTED_MISSING, /* there is nothing at its path */
    CHANNEL_COLLECTED_FAILED,
    CHANNEL_COLLECTED_CUT, /* the host had enough */
};

struct channel_frame_hello {
    uint32_t magic;
    uint32_t version;
};

struct channel_frame_credit {
    uint32_t stream; /* enum channel_stream */
    uint32_t bytes;
};

struct channel_frame_resize {
    uint16_t rows, columns; /* in characters */
};

struct channel_frame_usage {
    uint64_t cpu_usec;     /* of the command and all it started */
    uint64_t memory_bytes; /* in use in the guest: what could not be had for the asking */
};

struct channel_frame_exit {
    uint32_t exit_code; /* when signal is 0 */
    uint32_t signal;    /* that ended the command, or 0 */
    uint64_t user_usec, system_usec;
    uint64_t max_rss_kib;
    uint64_t oom_kills; /* processes the guest kernel killed for lack of memory */
};

/*
 * The run specification: fields, each a tag byte, a u32 length and that many bytes. ARG and ENV
 * repeat, in order. Texts carry no NUL.
 */
enum channel_spec_tag {
    CHANNEL_SPEC_COMMAND = 1,     /* text; a name without '/' is looked up in PATH */
    CHANNEL_SPEC_ARG = 2,         /* text */
    CHANNEL_SPEC_ENV = 3,         /* text "KEY=value" */
    CHANNEL_SPEC_WORKDIR = 4,     /* text */
    CHANNEL_SPEC_USER = 5,        /* u32 uid, u32 gid */
    CHANNEL_SPEC_PIDS = 6,        /* u32: processes and threads of the command at once */
    CHANNEL_SPEC_DISK = 7,        /* u64: bytes of writable scratch; 0: the root stays read-only */
    CHANNEL_SPEC_CLOCK = 8,       /* u64: wall clock, nanoseconds since the epoch */
    CHANNEL_SPEC_ENTROPY = 9,     /* bytes for the guest's random pool */
    CHANNEL_SPEC_STDIN = 10,      /* empty: the command's stdin is the channel's, not /dev/null */
    CHANNEL_SPEC_HOSTNAME = 11,   /* text */
    CHANNEL_SPEC_HOSTS = 12,      /* text: the guest's /etc/hosts */
    CHANNEL_SPEC_STDIN_FILE = 13, /* text: the command's stdin is this file of the guest */
    CHANNEL_SPEC_INPUT =
        14, /* struct channel_spec_input, then text: an absolute path in the guest */
    CHANNEL_SPEC_OUTPUT = 15, /* text: an absolute path in the guest */
};

/* Where the file system of an input is. */
struct channel_spec_input {
    uint32_t disk;           /* 0: the first behind the root image's */
    uint32_t is_file;        /* the input is the only file in it, not its root directory */
    uint64_t offset, length; /* in bytes; length 0: the whole disk */
};

#endif
