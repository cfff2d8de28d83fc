# bash completion for safe-run. Commands and options are read from the help of safe-run itself.
_safe_run() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} program=${COMP_WORDS[0]/#\~\//$HOME/}
    local help word words='' command=()
    # The help of the command on the line: of safe-run, then of each word that this lists.
    help=$("$program" help 2> /dev/null)
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        [[ $word =~ ^[a-z][a-z-]*$ && $'\n'$help == *$'\n'"  $word  "* ]] || break
        command+=("$word")
        help=$("$program" "${command[@]}" --help 2> /dev/null)
    done
    case $prev in
    --policy | --mount-allowlist | --events | --key | --require-key | --attestation | --checkpoint | --proof | --report | --out | -o | --output)
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    --workdir-base | --output-dir | --outputs | --artifacts | --root) mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
    --from)
        if [ "${command[0]}" = archive ]; then
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            return
        fi
        words='oci-archive: oci: docker-archive: dir: tar:'
        compopt -o nospace
        ;;
    --accel) words='auto kvm tcg' ;;
    --vmm) words=qemu ;;
    --format) words='text json'; [ "${command[1]}" != export ] || words=ocsf ;;
    --cause) words='workload timeout interrupted guest-oom host-oom vmm setup cleanup' ;;
    --result) words='pass fail' ;;
    --retention) words='30d 180d 365d forever' ;;
    *)
        words=$(sed -nE 's/^  ([a-z][a-z-]*)  +.*/\1/p' <<< "$help")
        if [ -n "$words" ]; then
            mapfile -t COMPREPLY < <(compgen -W "$words --help" -- "$cur")
            return
        fi
        words=$(sed -nE 's/^  (-[a-z], )?(--[a-z-]+)( [^ ]+)*  +.*/\2/p' <<< "$help")
        case ${command[*]} in
        stop) words+=" $("$program" ps 2> /dev/null | awk 'NR > 1 { print $1 }')" ;;
        "report "* | "archive show" | "archive prove" | "archive export")
            words+=" last $("$program" ps -a 2> /dev/null | awk 'NR > 1 { print $1 }')"
            ;;
        "image inspect" | "image rm" | "image verify") words+=" $("$program" image ls 2> /dev/null | awk 'NR > 1 { print $1 }')" ;;
        esac
        ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    [ ${#COMPREPLY[@]} -gt 0 ] || mapfile -t COMPREPLY < <(compgen -f -- "$cur")
}
complete -F _safe_run safe-run
