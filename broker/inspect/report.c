/* Report: see report.h. */
#include "broker/inspect/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "broker/inspect/json.h"
#include "broker/utf8.h"

static const char *weight_name(enum finding_weight weight)
{
    static const char *const names[] = {
        [WEIGHT_NOTE] = "note", [WEIGHT_MENDED] = "mended", [WEIGHT_DAMAGE] = "damage"};
    return names[weight];
}

void report_text(const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    while (size > 0) {
        const size_t length = utf8_length(at, size);
        const bool plain = length > 1 || (length == 1 && *at >= 0x20 && *at != 0x7f && *at != '\\');
        if (plain) {
            fwrite(at, 1, length, stdout);
        } else {
            printf("\\x%02x", *at);
        }
        const size_t step = plain ? length : 1;
        at += step;
        size -= step;
    }
}

void report_range(void *context, const char *file, const struct byte_range *range)
{
    const struct arguments *arguments = context;
    if (arguments->json) {
        json_begin("range");
        json_text("file", file);
        json_number("offset", range->offset);
        json_number("bytes", range->bytes);
        json_text("class", byte_class_name(range->what));
        if (range->in_topic) {
            json_number("topic_id", range->topic_id);
            json_number("chunk", range->chunk_no);
        }
        json_end();
        return;
    }
    report_text(file, strlen(file));
    printf(" %12" PRIu64 " %10" PRIu64 "  %-15s", range->offset, range->bytes,
           byte_class_name(range->what));
    if (range->in_topic) {
        printf("  topic %" PRIu64 ", chunk %" PRIu64, range->topic_id, range->chunk_no);
    }
    printf("\n");
}

static void finding_json(const struct finding *finding)
{
    json_begin("finding");
    json_text("weight", weight_name(finding->weight));
    json_text("kind", finding_kind_name(finding->kind));
    if (finding->file[0] != '\0') {
        json_text("file", finding->file);
        json_number("offset", finding->offset);
        json_number("bytes", finding->bytes);
    }
    if (finding->in_topic) {
        json_number("topic_id", finding->topic_id);
        json_text("topic", finding->topic);
        json_number("chunk", finding->chunk_no);
    }
    if (finding->loses) {
        json_number("seq_first", finding->seq_first);
        json_number("seq_last", finding->seq_end - 1);
    }
    json_text("words", finding->words);
    json_end();
}

static void finding_text(const struct finding *finding)
{
    printf("%s: %s", weight_name(finding->weight), finding_kind_name(finding->kind));
    if (finding->file[0] != '\0') {
        printf(": ");
        report_text(finding->file, strlen(finding->file));
        printf(" offset %" PRIu64, finding->offset);
        if (finding->bytes != 0) {
            printf(", %" PRIu64 " bytes", finding->bytes);
        }
    }
    if (finding->in_topic) {
        printf(": topic \"");
        report_text(finding->topic, strlen(finding->topic));
        printf("\", chunk %" PRIu64, finding->chunk_no);
    }
    if (finding->loses && finding->seq_end - finding->seq_first == 1) {
        printf(", entry %" PRIu64 " is lost", finding->seq_first);
    } else if (finding->loses) {
        printf(", entries %" PRIu64 " to %" PRIu64 " are lost", finding->seq_first,
               finding->seq_end - 1);
    }
    printf(": %s\n", finding->words);
}

void report_findings(const struct arguments *arguments, const struct findings *findings)
{
    for (size_t i = 0; i < findings->count; i++) {
        const struct finding *finding = &findings->all[i];
        if (finding->weight == WEIGHT_NOTE && arguments->quiet) {
            continue;
        }
        if (arguments->json) {
            finding_json(finding);
        } else {
            finding_text(finding);
        }
    }
}

static const char *verdict(const struct inspection *inspection)
{
    const struct findings *findings = &inspection->findings;
    return findings->weights[WEIGHT_DAMAGE] != 0   ? "damaged"
           : findings->weights[WEIGHT_MENDED] != 0 ? "mended"
                                                   : "clean";
}

static void summary_json(struct inspection *inspection, const struct account *account,
                         const struct verify_result *result)
{
    const struct survey *survey = &inspection->survey;
    json_begin("store");
    json_text("path", survey->dir.path);
    if (survey->namespace_known) {
        json_bytes("namespace", survey->facts.key, survey->facts.key_bytes);
    }
    json_number("chunk_bytes", survey->chunk_bytes);
    json_number("segment_bytes", survey->segment_bytes);
    json_number("files", account->files);
    json_number("file_bytes", account->files_bytes);
    for (unsigned what = 0; what < BYTE_CLASSES; what++) {
        char name[64];
        (void)snprintf(name, sizeof name, "bytes_%s", byte_class_name((enum byte_class)what));
        for (char *dash = strchr(name, '-'); dash != NULL; dash = strchr(dash, '-')) {
            *dash = '_';
        }
        json_number(name, account->bytes[what]);
    }
    json_number("topics", result->topics);
    json_number("chunks", result->chunks);
    json_number("entries", result->entries);
    json_number("entries_lost", result->entries_lost);
    json_number("notes", inspection->findings.weights[WEIGHT_NOTE]);
    json_number("mended", inspection->findings.weights[WEIGHT_MENDED]);
    json_number("damages", inspection->findings.weights[WEIGHT_DAMAGE]);
    json_bool("start_accepts", inspection->start_accepts);
    if (!inspection->start_accepts) {
        json_text("start_refusal", inspection->start.text);
    }
    json_text("verdict", verdict(inspection));
    json_end();
}

static void summary_text(struct inspection *inspection, const struct account *account,
                         const struct verify_result *result)
{
    report_text(inspection->survey.dir.path, strlen(inspection->survey.dir.path));
    if (inspection->survey.namespace_known) {
        printf(" (namespace \"");
        report_text(inspection->survey.facts.key, inspection->survey.facts.key_bytes);
        printf("\")");
    }
    printf(": %" PRIu64 " bytes in %" PRIu64 " files\n", account->files_bytes, account->files);
    for (unsigned what = 0; what < BYTE_CLASSES; what++) {
        if (account->bytes[what] != 0) {
            printf("  %-15s %16" PRIu64 "\n", byte_class_name((enum byte_class)what),
                   account->bytes[what]);
        }
    }
    printf("%" PRIu64 " topics, %" PRIu64 " entries in %" PRIu64 " chunks; %" PRIu64
           " entries are lost\n",
           result->topics, result->entries, result->chunks, result->entries_lost);
    if (inspection->start_accepts) {
        printf("start: a broker would accept this store\n");
    } else {
        printf("start: a broker would refuse this store: %s\n", inspection->start.text);
    }
    printf("verdict: %s\n", verdict(inspection));
}

void report_verify(const struct arguments *arguments, struct inspection *inspection,
                   const struct account *account, const struct verify_result *result)
{
    report_findings(arguments, &inspection->findings);
    if (arguments->quiet) {
        return;
    }
    if (arguments->json) {
        summary_json(inspection, account, result);
    } else {
        summary_text(inspection, account, result);
    }
}

int report_status(const struct inspection *inspection)
{
    if (inspection->findings.unreadable) {
        return EX_IOERR;
    }
    return findings_damage(&inspection->findings) ? EX_DATAERR : EX_OK;
}
