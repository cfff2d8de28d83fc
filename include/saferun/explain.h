/*
 * What a policy means: in plain sentences, for one destination, and compared with another policy.
 *
 * Nothing here decides anything: the validator does, and the run enforces. All functions are pure.
 */
#ifndef SAFERUN_EXPLAIN_H
#define SAFERUN_EXPLAIN_H

#include "saferun/bundle.h"
#include "saferun/error.h"
#include "saferun/image.h"
#include "saferun/policy.h"

/* Takes one sentence about a topic ("May reach"); sentences of a topic come one after the other.
 * Both texts are UTF-8 without control characters and live until it returns. */
typedef void sr_say_fn(void *context, const char *topic, const char *sentence);

/* What a run takes where the policy leaves it open and the image has a wish. */
struct sr_effective {
    const char *workdir;
    uint32_t uid, gid;
    bool workdir_of_image, user_of_image;
};

/* image: its configuration, or NULL. The texts are the policy's or the image's. */
void sr_policy_effective(const struct sr_policy *policy, const struct sr_image_config *image,
                         struct sr_effective *effective);

/* False when the policy sets the variable of an image's "KEY=VALUE" itself. */
bool sr_policy_lets_env(const struct sr_policy *policy, const char *pair);

/* Says what the command may reach, read, write and use, what is denied, and what is recorded.
 * image: what runtime.image is in the store, or NULL. SR-POL-001 when memory is out. */
int sr_policy_explain(const struct sr_policy *policy, const struct sr_image *image, sr_say_fn *say,
                      void *context, struct sr_error *err) __attribute__((warn_unused_result));

/* Where a connection would go. */
struct sr_destination {
    enum sr_protocol protocol;
    char name[254];   /* in lower case; empty when it is an address */
    uint32_t address; /* host byte order; only without a name */
    uint16_t port;
};

/* Reads "tcp:198.51.100.7:443" or "udp:ntp.example.com:123". SR-POL-002 at "destination" with what
 * is wrong. */
int sr_destination_parse(const char *text, struct sr_destination *destination, struct sr_error *err)
    __attribute__((warn_unused_result));

#define SR_NO_RULE SIZE_MAX

struct sr_verdict {
    bool allowed;
    size_t
        rule; /* of network.egress: the one that allows it, or that comes nearest; or SR_NO_RULE */
    char reason[768]; /* a sentence */
    char remedy[384]; /* when denied: the line of the policy that would allow it; "": none would */
};

/* Judges a destination as the run will: the first rule in policy order that matches. Names are not
 * looked up, nor are this host's addresses: where they matter the reason says so. A name without a
 * rule is allowed when every address is open, for the guest needs no name. */
void sr_policy_why(const struct sr_policy *policy, const struct sr_destination *destination,
                   struct sr_verdict *verdict);

/*
 * Says what the policy of b may do that a's may not ("B may, A may not"), the other way round, what
 * else changed, and where the compiled plans differ. *changes is the number of sentences.
 * SR-CMP-002 when memory is out.
 */
int sr_bundle_diff(const struct sr_bundle *a, const struct sr_bundle *b, sr_say_fn *say,
                   void *context, size_t *changes, struct sr_error *err)
    __attribute__((warn_unused_result));

/* A commented policy to start from; ends with a newline. Static. */
extern const char sr_policy_starter[];

/* The JSON Schema (2020-12) of a policy; ends with a newline. Static. */
extern const char sr_policy_schema[];

#endif
