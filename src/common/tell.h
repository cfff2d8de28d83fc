/*
 * What goes on, for a person who waits: a line of text at a time, without its end.
 */
#ifndef SR_COMMON_TELL_H
#define SR_COMMON_TELL_H

struct sr_tell {
    void (*line)(void *context, const char *text); /* NULL: nobody listens */
    void *context;
};

__attribute__((format(printf, 2, 3))) void sr_tell(const struct sr_tell *tell, const char *fmt,
                                                   ...);

#endif
