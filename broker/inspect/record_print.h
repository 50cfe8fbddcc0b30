/*
 * Record print: one record of the system topic in words, or as members of a JSON object.
 * Runs on:    one thread; stdout.
 */
#ifndef TUSK_BROKER_INSPECT_RECORD_PRINT_H
#define TUSK_BROKER_INSPECT_RECORD_PRINT_H

struct record;

void record_print_text(const struct record *record);
void record_print_json(const struct record *record);

#endif
