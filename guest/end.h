/*
 * The early ends: of the VM, and of what a run asks for and cannot have.
 */
#ifndef SR_GUEST_END_H
#define SR_GUEST_END_H

#include <stdbool.h>
#include <stdint.h>

/* Ends the VM. */
void power_off(void) __attribute__((noreturn));
/* Prints what and errno's text on the console, and ends the VM. */
void die(const char *what) __attribute__((noreturn));

/* Why something could not be done: the exit status a shell would give, and a sentence. */
struct refusal {
    uint32_t status;
    char text[400];
};
/* Fills *refusal. Returns false. */
bool refuse(struct refusal *refusal, uint32_t status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
