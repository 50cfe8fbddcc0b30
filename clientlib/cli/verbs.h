/*
 * Verbs: what the tool can do, one file each (verb_NAME.c).
 * Runs on:    the tool's one thread.
 * Invariants: argv[0] is the verb's name; the result is the exit status, and whatever is not EX_OK
 *             has been explained on stderr.
 */
#ifndef TUSK_CLI_VERBS_H
#define TUSK_CLI_VERBS_H

int verb_append(int argc, char **argv);
int verb_config(int argc, char **argv);
int verb_delete(int argc, char **argv);
int verb_namespaces(int argc, char **argv);
int verb_read(int argc, char **argv);
int verb_run(int argc, char **argv);
int verb_stat(int argc, char **argv);
int verb_topics(int argc, char **argv);
int verb_trim(int argc, char **argv);

#endif
