# fish completion for safe-run. What there is to complete is read from the help of safe-run itself.

# The help of the command on the line: of safe-run, then of each word that this lists.
function __safe_run_help
    set -l words (commandline -opc)
    set -l program $words[1]
    set -l command
    set -l help ($program help 2> /dev/null)
    for word in $words[2..]
        string match -qr '^[a-z][a-z-]*$' -- $word
        and string match -qr "^  $word  " -- $help
        or break
        set -a command $word
        set help ($program $command --help 2> /dev/null)
    end
    printf '%s\n' $help
end

function __safe_run_commands
    __safe_run_help | string replace -rf '^  ([a-z][a-z-]*)  +(.*)' '$1\t$2'
end

function __safe_run_options
    __safe_run_help | string replace -rf '^  (?:-[a-z], )?(--[a-z-]+)(?: [^ ]+)*  +(.*)' '$1\t$2'
end

complete -c safe-run -n 'test -n "$(__safe_run_commands)"' -f -a '(__safe_run_commands)'
complete -c safe-run -n 'string match -q -- "-*" (commandline -ct)' -f -a '(__safe_run_options)'
