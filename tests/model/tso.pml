/*
 * tso: x86-TSO memory for the models. The includer defines PROCESSES, WORDS and the mtype constants
 * of its mutants; MUTANT names the one that is built in, default none.
 *
 * A store goes into its process's buffer; the others see it when memory() retires it, in order, at
 * any later time. A fence waits until the own buffer is empty, a membarrier until the others' are.
 * A load reads mem, so a process must not read a word of its own that may still be buffered (none
 * of these protocols does: each side keeps private copies of what it wrote). DEPTH bounds a buffer:
 * 4 is more than any run of stores between two fences; 2 is used where no load that matters follows
 * a store. RETIRE(word, value) is run when a store becomes visible.
 */
#ifndef MUTANT
#define MUTANT none
#endif
#ifndef DEPTH
#define DEPTH 4
#endif
#ifndef RETIRE
#define RETIRE(word, value) skip
#endif
#define M(name)                     (MUTANT == name)
#define when(condition, body)       if :: condition -> body :: else fi
#define each(i, count, body)        i = 0; do :: i < count -> body; i++ :: else -> i = 0; break od
#define store(process, word, value) buffer[process] ! word, value
#define fence_unless(omitted, p)    ((omitted) || empty(buffer[p]))

byte mem[WORDS];
chan buffer[PROCESSES] = [DEPTH] of { byte, byte };

active [PROCESSES] proctype memory()
{
    byte word, value;
end:
    do
    :: d_step {
            buffer[_pid] ? word, value ->
            RETIRE(word, value);
            mem[word] = value; word = 0; value = 0
        }
    od
}

#ifdef KILLS
byte kills;                             /* counted by the victim, which clears killed */
bit killed;

/*
 * SIGKILLs the broker KILLS times. It undoes no store: the victim's buffer still drains. Quiescence
 * is only reached after the last kill, so each number of kills needs a run of its own.
 */
active proctype kernel()
{
end:
    do :: kills < KILLS && !killed -> killed = 1 od
}
#endif
