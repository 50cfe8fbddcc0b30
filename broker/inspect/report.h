/*
 * Report: prints what a verification found, for people or as JSON, one object per line.
 * Runs on:    one thread; stdout.
 * Not here:   finding it (verify.h).
 */
#ifndef TUSK_BROKER_INSPECT_REPORT_H
#define TUSK_BROKER_INSPECT_REPORT_H

#include <stddef.h>

#include "broker/inspect/account.h"
#include "broker/inspect/arguments.h"
#include "broker/inspect/finding.h"
#include "broker/inspect/inspection.h"
#include "broker/inspect/verify.h"

/* The bytes of a text for a terminal: what is not printable becomes \xNN. */
void report_text(const void *bytes, size_t size);

/* One range of the map; fits account.range_fn. The context is struct arguments. */
void report_range(void *context, const char *file, const struct byte_range *range);

/* All findings from `from` on; notes only where all is said. */
void report_findings(const struct arguments *arguments, const struct findings *findings);

/* The whole of it. */
void report_verify(const struct arguments *arguments, struct inspection *inspection,
                   const struct account *account, const struct verify_result *result);

/* The exit status that the findings mean. */
int report_status(const struct inspection *inspection);

#endif
