# Start time and memory against topics and bytes; rows of bench-recovery's CSV.
# Called by tests/tools/show.sh with `csv` and `out` set.
set datafile separator ","
set logscale xy
set grid
set key left top

metric(name, kind) = sprintf("< awk -F, '$3 == \"\\\"%s\\\"\" {gsub(/\"/, \"\", $2); split($2, w, \" \"); \
if ((\"%s\" == \"topics\" && w[2] == \"topics\") || (\"%s\" == \"bytes\" && w[2] == \"MiB\")) print w[1] \",\" $6}' %s", \
name, kind, kind, csv)

do for [format in "svg png"] {
    if (format eq "svg") { set terminal svg size 1000,800 background "white" }
    else { set terminal png size 1000,800 }
    set output out . "." . format
    set multiplot layout 2,2 title "What a start takes"
    set xlabel "topics"
    set ylabel "start, ms"
    plot metric("start after a kill", "topics") using 1:($2/1e6) title "after a kill" pt 7, \
         metric("start after a stop", "topics") using 1:($2/1e6) title "after a stop" pt 5
    set xlabel "MiB in 10 topics"
    plot metric("start after a kill", "bytes") using 1:($2/1e6) title "after a kill" pt 7, \
         metric("start after a stop", "bytes") using 1:($2/1e6) title "after a stop" pt 5
    set xlabel "topics"
    set ylabel "broker's own memory, MiB"
    plot metric("private memory KiB", "topics") using 1:($2/1024) notitle pt 7
    set xlabel "MiB in 10 topics"
    plot metric("private memory KiB", "bytes") using 1:($2/1024) notitle pt 7
    unset multiplot
    unset output
}
