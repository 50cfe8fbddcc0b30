/*
 * Survey of segments: which file is which segment. See survey.h, whose part this is.
 */
#ifndef TUSK_BROKER_INSPECT_SURVEY_SEGMENTS_H
#define TUSK_BROKER_INSPECT_SURVEY_SEGMENTS_H

struct fault;
struct io_file;
struct survey;
struct survey_file;

/* Lists and opens segments/. 0 or an error with words. */
int survey_segments(struct survey *survey, struct fault *fault);

/* survey.c: a file of the listing; NULL: no memory. */
struct survey_file *survey_file_add(struct survey *survey, const char *dir, const char *name);
/* survey.c: opens it; what goes wrong is a finding as well. */
int survey_file_open(struct survey *survey, struct io_file *dir, const char *name,
                     struct survey_file *file);

#endif
