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
 * (policy_node_repeated_key()).
 */
int policy_document_parse(struct policy_arena *arena, const char *text, size_t len,
                          struct policy_node **root, struct sr_error *err) SR_MUST_CHECK;

/* The two readers behind it. */
int policy_document_parse_yaml(struct policy_arena *arena, const char *text, size_t len,
                               struct policy_node **root, struct sr_error *err) SR_MUST_CHECK;
int policy_document_parse_json(struct policy_arena *arena, const char *text, size_t len,
                               struct policy_node **root, struct sr_error *err) SR_MUST_CHECK;

#endif
