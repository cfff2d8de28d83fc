/*
 * Reading a document (YAML or JSON) into a tree (node.h).
 *
 * A document that begins with '{' and a quotation mark (or '}') is JSON and is read strictly by
 * RFC 8259 and I-JSON; anything else is YAML 1.1 as libyaml reads it, less tags and a second
 * document. A byte order mark is passed over.
 */
#ifndef SR_POLICY_DOCUMENT_H
#define SR_POLICY_DOCUMENT_H

#include "common/cleanup.h"
#include "policy/node.h"

/*
 * Reads text into a tree. Errors: SR-POL-002 at "policy" with line and column; SR-POL-001 when the
 * document is empty. Repeated keys are left to the caller, who knows the path
 * (sr_node_repeated_key()).
 */
int sr_document_parse(struct sr_arena *arena, const char *text, size_t len, struct sr_node **root,
                      struct sr_error *err) SR_MUST_CHECK;

/* The two readers behind it. */
int sr_document_parse_yaml(struct sr_arena *arena, const char *text, size_t len,
                           struct sr_node **root, struct sr_error *err) SR_MUST_CHECK;
int sr_document_parse_json(struct sr_arena *arena, const char *text, size_t len,
                           struct sr_node **root, struct sr_error *err) SR_MUST_CHECK;

#endif
