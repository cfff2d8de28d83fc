/* For inputs.c: packed inputs that are kept (input_store.c). */
#ifndef SR_HOST_INPUT_STORE_H
#define SR_HOST_INPUT_STORE_H

#include "host/inputs.h"

/* 64 hexadecimal digits and two ids. */
#define INPUT_STORE_NAME 96

/* The name under which the image of a source with this fingerprint is kept. */
void input_store_name(const char *fingerprint, uint32_t uid, uint32_t gid,
                      char name[INPUT_STORE_NAME]);

/* Opens a kept image; input->is_file stays. False: it is not there, or not what was kept. */
bool input_store_find(int store, const char *name, struct host_input *input);

/* Keeps an image that has no name yet; not keeping it costs time later, nothing else. */
void input_store_keep(int store, const char *name, const struct host_input *input);

#endif
